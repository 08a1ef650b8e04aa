"""Chapter 7: a DQN learns its way through mazes, and then through mazes that it has never seen.

Begin with `map`, `train` (some seconds) and `play`, which shows the walk; `train --mazes 100`
learns a hundred mazes at once. `planner train` makes one agent for all mazes, `planner play` shows
it. `train --recipe book` is the book's program, which learns nothing, and `mends` says why. Ctrl-C
saves; `train --resume runs/ch07_dqn/TIME` goes on.
"""

from zoo.ch07_dqn import commands, mends, model, planner, planner_commands, runs
from zoo.common import cli

if __name__ == "__main__":
    cli.main(
        __doc__,
        {
            "train": commands.train,
            "play": commands.play,
            "evaluate": commands.evaluate,
            "figures": commands.figures,
            "map": commands.show_map,
            "mends": mends.mends,
            "bench": commands.bench,
            "planner": {
                "train": planner_commands.train,
                "evaluate": planner_commands.evaluate,
                "play": planner_commands.play,
            },
        },
        recipes=(model.RECIPES, planner.RECIPES),
        resumed=runs.saved_config,
    )
