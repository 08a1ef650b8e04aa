"""What each mend of the book's program does: `python -m studies.ch07_mends`.

Mends the bugs of recipe `book` one by one until it is recipe `modern`.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from zoo import ch07_dqn as dqn
from zoo.common import bench, cli, figures, run
from zoo.common import device as devices
from zoo.common.data import DataError
from zoo.common.figures import BLUE, ORANGE, PALE, SMALL

MENDS: dict[str, dict[str, Any]] = {
    "as printed": {},
    "rows and columns told apart": {"transposed": False},
    "episodes end at the goal": {"endless": False},
    "best action is the best": {"choice": "best"},
    "epsilon is used": {"epsilon": 1.0, "epsilon_min": 0.01},
    "replay is called": {"replay": "first"},
    "replay draws a sample": {"replay": "sample"},
    "errors of pairs, not of all": {"crossed_cost": False},
    "first layer of 128, not 2": {"hidden": (128, 128)},
    "biases, coordinates scaled": {"bias": True, "scaled": True},
    "target network, double": {"target_every": 100, "double": True},
    "clean rewards": {"rewards": "modern"},
    "episodes start anywhere": {"spread": True, "limit": 200},
    "one input for each tile": {
        "network": "site",
        "hidden": (32,),
        "activation": "relu",
        "optimistic": True,
        "loss": "huber",
        "discount": 0.99,
    },
}
"""Changes of the recipe `book`, each on top of those before it; the last gives `modern`."""


def ladder(base: dqn.Config, **sizes: Any) -> dict[str, dqn.Config]:
    """The configurations of the lines of the table."""
    config = dataclasses.replace(base, **sizes)
    lines = {}
    for name, change in MENDS.items():
        config = dataclasses.replace(config, **change)
        lines[name] = config
    return lines


def mends(
    count: int = 20,
    rows: int = 3,
    columns: int = 4,
    steps: int = 10_000,
    device: devices.Name = "auto",
    out: Path = Path("runs/ch07_dqn/mends"),
) -> None:
    """Mend the bugs of the book's program one by one, and count what share of mazes it solves.

    Takes some minutes. Writes mends.json and mends.png.

    Args:
        count: mazes, seeds 0, 1, 2 ...
        rows: of cells; small, so that ten thousand steps tell
        columns: of cells
        steps: of training in each maze
        device: where to compute
        out: folder for table and figure
    """
    if count < 1 or steps < 100 or steps % 100:
        raise DataError(f"got {count} mazes, {steps} steps: at least 1, and a multiple of 100")
    devices.use(device)
    sizes = {"mazes": count, "rows": rows, "columns": columns, "epochs": 1, "epoch_steps": steps}
    solved, home = {}, {}
    for name, config in ladder(dqn.RECIPES["book"], **sizes).items():
        state = dqn.train(config, {})
        solved[name] = float((state.lengths[:, -1] >= 0).mean())
        home[name] = float(state.home[:, -1].mean())
        print(f"{name:<30}{solved[name]:6.0%} of the mazes, {home[name]:6.1%} of the tiles")
    kind = f"{count} mazes of {rows}x{columns} cells, {steps:,} steps in each"
    run.write_json(out / "mends.json", {"mazes": kind, "solved": solved, "tiles_solved": home})
    drawn = figures.save(draw(solved, home, kind), out / "mends.png")
    bench.print_table(
        kind,
        ("mended so far", "mazes solved", "tiles from which it reaches the goal"),
        [(name, f"{solved[name]:.0%}", f"{home[name]:.1%}") for name in solved],
    )
    print(f"written to {out / 'mends.json'}, {drawn}")


@figures.own_style
def draw(solved: Mapping[str, float], home: Mapping[str, float], caption: str = "") -> Figure:
    """Shares of mazes solved, and of tiles from which the goal is reached, one line a mend."""
    names = list(solved)
    figure = figures.page(6.5, 0.3 * len(names) + 0.6, "bugs mended one by one", caption)
    axes = figure.subplots()
    rows = np.arange(len(names))[::-1]
    tiles = "tiles from which it reaches the goal"
    axes.barh(rows + 0.2, list(solved.values()), 0.36, color=ORANGE, label="mazes solved")
    axes.barh(rows - 0.2, list(home.values()), 0.36, color=BLUE, label=tiles)
    axes.set_yticks(rows, names)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    figures.plain(axes)
    axes.set_xlim(0, 1)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=PALE, linewidth=0.5)
    axes.legend(fontsize=SMALL, frameon=False, loc="upper right")
    return figure


if __name__ == "__main__":
    cli.main(__doc__, mends)
