"""Chapter 7: a DQN learns its way through mazes, and then through mazes that it has never seen.

Begin with `map`, `train` (some seconds) and `play`, which shows the walk; `train --mazes 100`
learns a hundred mazes at once. `planner train` makes one agent for all mazes, `planner play` shows
it. `train --recipe book` is the book's program, which learns nothing, and `python -m
studies.ch07_mends` shows why. Ctrl-C saves; `train --resume runs/ch07_dqn/TIME` goes on.
"""

from zoo.ch07_dqn import TASKS
from zoo.ch07_dqn.agent.commands import COMMANDS
from zoo.ch07_dqn.planner.commands import COMMANDS as PLANNER
from zoo.common import cli

if __name__ == "__main__":
    cli.main(__doc__, COMMANDS | {"planner": PLANNER}, TASKS)
