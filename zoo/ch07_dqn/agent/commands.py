"""What the agents do beside the commands of every model: play, map, figures of one of them."""

from pathlib import Path
from typing import Annotated, Literal

from zoo.ch07_dqn import maze as mazes
from zoo.ch07_dqn import plans
from zoo.ch07_dqn import play as playing
from zoo.ch07_dqn.agent import model, task, train
from zoo.ch07_dqn.agent.task import TASK
from zoo.common import cli, commands, run, trained
from zoo.common.data import DataError
from zoo.common.settings import Bounds, Share, Size

Number = Annotated[int, Bounds(0)]


def evaluate(model: cli.TrainedModel) -> None:
    """Let the greedy policy of each agent walk its maze, and compare with the shortest way.

    Writes evaluation.json.

    Args:
        model: which model
    """
    found = trained.choose(TASK, model)
    dataset = commands.dataset_of(found)
    commands.keep(found, task.report(found, dataset) | {"mazes": dataset.description})


def play(
    model: cli.TrainedModel,
    agent: Number = 0,
    seconds: playing.Pause = 0.08,
    maze: Path | None = None,
) -> None:
    """Watch an agent walk its maze in the terminal, live; writes figures/walk.gif.

    Args:
        model: which model
        agent: its number, if there are several in the run
        seconds: time for a step
        maze: the plan of its maze, to make sure that it is this one
    """
    found = trained.choose(TASK, model)
    params, _, sites = task.agent_of(found, agent)
    if maze is not None and plans.plan(plans.read(maze)) != plans.plan(params.maze):
        raise DataError(
            f"the agent of {found.folder} knows its own maze alone, and {maze} is another: "
            f"`{TASK.command} train --maze {maze}`, or `{TASK.command} planner play --maze {maze}`"
        )
    caption = f"agent {agent} of {found.folder}, {found.about['data']['description']}"
    playing.play(found, params.maze, sites, seconds, caption)


def figures(model: cli.TrainedModel, agent: Number = 0) -> None:
    """Draw a model again: learning curve, values with arrows, visits, the way taken.

    Args:
        model: which model
        agent: which of its agents to draw
    """
    found = trained.choose(TASK, model)
    for name, figure in task.pictures(found, commands.dataset_of(found), agent).items():
        commands.save(found, name, figure)


def show_map(
    seed: Number = 0,
    rows: Size = 5,
    columns: Size = 10,
    method: Literal["depth-first", "prim"] = "depth-first",
    extra: Share = 0.0,
    solve: bool = False,
    out: Path | None = None,
) -> None:
    """Print a maze; with --solve the shortest way in it.

    The file that --out writes is a plan as `train --maze` takes it: # walls, spaces floor, S, G.

    Args:
        seed: which maze; the same as that of `train --maze-seed`
        rows: of cells
        columns: of cells
        method: how it is made
        extra: share of the other inner walls opened as well
        solve: show a shortest way
        out: file for its plan
    """
    config = model.Config(rows=rows, columns=columns, method=method, extra=extra)
    maze = train.make_params(config, seed).maze
    way = mazes.shortest(maze)
    print(mazes.draw(maze, dict.fromkeys(way[1:-1], "·") if solve else {}))
    start, goal = (divmod(int(site), maze.exits.shape[1]) for site in (maze.start, maze.goal))
    print(
        f"S at row {start[0]}, column {start[1]}; G at row {goal[0]}, column {goal[1]}; the "
        f"shortest way has {len(way) - 1} steps"
    )
    if out is not None:
        run.write(out, plans.plan(maze) + "\n")
        print(f"plan written to {out}: python -m zoo.ch07_dqn train --maze {out}")


COMMANDS = commands.make(TASK)
COMMANDS |= {"play": play, "evaluate": evaluate, "figures": figures, "map": show_map}
