"""Chapter 5: recurrent networks that write like Shakespeare, character by character.

Begin with `train` (the modern recipe, minutes on two cores), then `generate --prompt "ROMEO:"`,
`generate --next-word "to be or not to "` and `evaluate`; they work with the newest run. `train
--recipe book` is the book's program, `train --recipe best` takes longer and writes better. Ctrl-C
saves; `train --resume runs/ch05_lstm/TIME` goes on. `copy-task` tests how long an LSTM remembers.
"""

from zoo.ch05_lstm import commands, drawing, model
from zoo.common import cli

if __name__ == "__main__":
    cli.main(
        __doc__,
        {
            "train": commands.train,
            "evaluate": commands.evaluate,
            "generate": commands.generate,
            "figures": drawing.figures,
            "copy-task": commands.copy_task,
            "bench": commands.bench,
        },
        recipes=(model.RECIPES,),
        resumed=commands.saved_config,
    )
