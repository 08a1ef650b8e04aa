"""Chapter 8: variational autoencoders draw digits, and say how well in nats.

Begin with `train` (the modern recipe, 10 epochs), then `sample`, `reconstruct`, `interpolate 0 1`
and `evaluate`; they work with the newest run. `train --recipe book` is the book's program, `train
--recipe iwae` the protocol of the literature. Ctrl-C saves; `train --resume runs/ch08_vae/TIME`
goes on. `chapter-figures` and `sweep-latents 2 5 8 20` train what the chapter's figures compare.
"""

from zoo.ch08_vae import commands, conv, drawing, model, studies
from zoo.common import cli

if __name__ == "__main__":
    cli.main(
        __doc__,
        {
            "train": commands.train,
            "train-conv": commands.train_conv,
            "evaluate": commands.evaluate,
            "sample": drawing.sample,
            "reconstruct": drawing.reconstruct,
            "interpolate": drawing.interpolate,
            "figures": drawing.figures,
            "chapter-figures": studies.chapter_figures,
            "sweep-latents": studies.sweep_latents,
            "bench": commands.bench,
        },
        recipes=(model.RECIPES, conv.RECIPES),
        resumed=commands.saved_config,
    )
