"""Chapter 4: CPU against GPU, measured; one device or many.

Begin with `devices`, which lists what computes here and what is missing for a GPU, then `bench
feedforward-book`, the book's own network. `all` measures everything in some minutes; each command
prints tables and leaves JSON and a picture under runs/ch04_gpu/TIME.
"""

from zoo.ch04_gpu import commands, compiling
from zoo.common import cli

if __name__ == "__main__":
    cli.main(
        __doc__,
        {
            "devices": commands.devices,
            **commands.MEASUREMENTS,
            "toy": commands.toy,
            "scale": commands.scale,
            "trace": commands.trace,
            "compile": compiling.compile_models,
            "all": commands.everything,
        },
    )
