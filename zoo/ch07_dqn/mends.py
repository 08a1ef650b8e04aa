"""What each mend of the book's program does: `python -m zoo.ch07_dqn mends`."""

import dataclasses
from pathlib import Path
from typing import Any

from zoo.ch07_dqn import model
from zoo.ch07_dqn.train import train
from zoo.common import bench as timing
from zoo.common import device, run
from zoo.common.data import DataError
from zoo.common.device import Name as DeviceName

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


def ladder(base: model.Config, **sizes: Any) -> dict[str, model.Config]:
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
    device_name: DeviceName = "auto",
    out: Path = Path("runs/ch07_dqn/mends"),
) -> None:
    """Mend the bugs of the book's program one by one, and count what share of mazes it solves.

    Takes some minutes. Writes mends.json and mends.png.

    Args:
        count: mazes, seeds 0, 1, 2 ...
        rows: of cells; small, so that ten thousand steps tell
        columns: of cells
        steps: of training in each maze
        device_name: what computes
        out: folder for table and figure
    """
    from zoo.ch07_dqn import figures
    from zoo.common import figures as common

    if count < 1 or steps < 100 or steps % 100:
        raise DataError(f"got {count} mazes, {steps} steps: at least 1, and a multiple of 100")
    device.use(device_name)
    sizes = {"mazes": count, "rows": rows, "columns": columns, "epochs": 1, "epoch_steps": steps}
    solved, home = {}, {}
    for name, config in ladder(model.RECIPES["book"], **sizes).items():
        state, _ = train(config)
        solved[name] = float((state.lengths[:, -1] >= 0).mean())
        home[name] = float(state.home[:, -1].mean())
        print(f"{name:<30}{solved[name]:6.0%} of the mazes, {home[name]:6.1%} of the tiles")
    kind = f"{count} mazes of {rows}x{columns} cells, {steps:,} steps in each"
    run.write_json(out / "mends.json", {"mazes": kind, "solved": solved, "tiles_solved": home})
    drawn = common.save(figures.mends(solved, home, kind), out / "mends.png")
    timing.print_table(
        kind,
        ("mended so far", "mazes solved", "tiles from which it finds out"),
        [(name, f"{solved[name]:.0%}", f"{home[name]:.1%}") for name in solved],
    )
    print(f"written to {out / 'mends.json'}, {drawn}")
