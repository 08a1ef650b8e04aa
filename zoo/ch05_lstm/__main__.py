"""Chapter 5: recurrent networks that write like Shakespeare, character by character.

Begin with `generate --prompt "ROMEO:"`, which uses the published model, or with `train` (the modern
recipe, minutes on two cores; --text FILE takes a text of your own), then `generate --next-word "to
be or not to "` and `evaluate`; they use the newest run. `train --recipe book` is the book's
program, `train --recipe best` takes longer and writes better. Ctrl-C saves; `train --resume
runs/ch05_lstm/TIME` goes on.
"""

from zoo.ch05_lstm import TASKS
from zoo.ch05_lstm.commands import COMMANDS
from zoo.common import cli

if __name__ == "__main__":
    cli.main(__doc__, COMMANDS, TASKS)
