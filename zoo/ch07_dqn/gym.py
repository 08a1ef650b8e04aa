"""The maze for programs that expect Gymnasium (`pip install -e '.[gym]'`).

Plain Python on the tables of `environment.Params`: one step at a time is faster so than by JAX. JAX
makes the maze of a seed and nothing else, and never in a forked process, where it would hang.
"""

import functools
import multiprocessing
import operator
import os
import pickle
import subprocess
import sys
from typing import Any

import gymnasium
import jax
import numpy as np

from zoo.ch07_dqn import environment
from zoo.ch07_dqn import maze as mazes
from zoo.common import device

_COLOURS = {"█": (40, 40, 40), " ": (255, 255, 255), "S": (190, 220, 255), "G": (120, 200, 120)}
_WALKER = (220, 60, 60)
_SCALE = 8  # pixels for each tile of a picture
_forked: list[int] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _forked.append(os.getpid()))


class MazeEnv(gymnasium.Env):
    """One maze; the observation is the number of the site, as in `environment`.

    Args:
      params: the maze with its rewards; by default the maze of `seed` with clean ones. Where
        processes are forked (`AsyncVectorEnv` on Linux), pass them as NumPy arrays,
        `jax.device_get(params)`, if they were made on an accelerator; a seed costs each of them the
        start of a process with a JAX of its own.
      seed: of that maze.
      render_mode: `human` prints the maze at each step, `ansi` and `rgb_array` let `render` return
        it as text or picture.

    Raises:
      ValueError: there is no such render mode.
    """

    metadata = {  # noqa: RUF012 (Gymnasium's form)
        "render_modes": ["human", "ansi", "rgb_array"],
        "render_fps": 10,
    }

    def __init__(
        self,
        params: environment.Params | None = None,
        seed: int = 0,
        render_mode: str | None = None,
    ):
        modes = self.metadata["render_modes"]
        if render_mode is not None and render_mode not in modes:
            raise ValueError(
                f"got the render mode {render_mode!r}, expected one of {', '.join(modes)}"
            )
        params = (
            _of_seed(operator.index(seed)) if params is None else jax.tree.map(np.asarray, params)
        )
        self.maze = params.maze
        self.rewards = params.rewards.tolist()
        self.bump, self.limit = float(params.bump), int(params.limit)
        self.starts = params.starts[: int(params.choices)].tolist()
        exits = self.maze.exits.reshape(-1, 1)
        self.legal = exits >> np.arange(4, dtype=exits.dtype) & 1 == 1
        here, steps = np.arange(len(exits))[:, None], mazes.deltas(self.maze.exits.shape[1])
        self.to = np.where(self.legal, here + steps, here).tolist()
        self.goal = int(self.maze.goal)
        self.observation_space = gymnasium.spaces.Discrete(len(self.rewards))
        self.action_space = gymnasium.spaces.Discrete(len(mazes.ACTIONS))
        self.render_mode = render_mode
        self.site, self.time, self.ended = self.starts[0], 0, True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """A new episode; with several starts one of them is drawn."""
        super().reset(seed=seed)
        self.site, self.time, self.ended = self.starts[0], 0, False
        if len(self.starts) > 1:
            self.site = self.starts[int(self.np_random.integers(len(self.starts)))]
        self._show()
        return self.site, {"legal": self.legal[self.site].copy()}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """(observation, reward, terminated, truncated, info), as `environment.step` has them.

        Raises:
          ValueError: the action is none of 0 to 3.
          gymnasium.error.ResetNeeded: the episode has not begun, or is over.
        """
        try:
            number = operator.index(action)
        except TypeError:
            number = -1
        if not 0 <= number < len(mazes.ACTIONS):
            known = ", ".join(f"{i} ({name})" for i, name in enumerate(mazes.ACTIONS))
            raise ValueError(f"got the action {action!r}, expected one of {known}")
        if self.ended:
            raise gymnasium.error.ResetNeeded("no episode is under way: call reset() first")
        before, self.site = self.site, self.to[self.site][number]
        reward = self.bump if self.site == before else self.rewards[self.site]
        self.time += 1
        terminated = self.site == self.goal
        truncated = not terminated and self.time >= self.limit
        self.ended = terminated or truncated
        self._show()
        return self.site, reward, terminated, truncated, {"legal": self.legal[self.site].copy()}

    def render(self) -> str | np.ndarray | None:
        """The maze with the walker in it, `@`: text, or uint8 [H, W, 3]; None for `human`."""
        if self.render_mode not in ("ansi", "rgb_array"):
            return None
        text = mazes.draw(self.maze, {self.site: "@"})
        if self.render_mode == "ansi":
            return text
        # Two characters a tile, of which the first says what it is.
        rows = [[_COLOURS.get(tile, _WALKER) for tile in line[::2]] for line in text.split("\n")]
        return np.array(rows, np.uint8).repeat(_SCALE, 0).repeat(_SCALE, 1)

    def _show(self) -> None:
        if self.render_mode == "human":
            text = mazes.draw(self.maze, {self.site: "@"}) + "\n"
            try:
                print(text)
            except UnicodeEncodeError:  # a terminal without Unicode
                print(text.replace("█", "#"))


@functools.cache
@device.in_float32
def _of_seed(seed: int) -> environment.Params:
    """The maze of a seed with clean rewards, in NumPy arrays."""
    if not _is_forked():
        return jax.device_get(environment.modern(mazes.generate(jax.random.key(seed))))
    program = (
        f"import pickle, sys; sys.path[:] = {sys.path!r}; from zoo.ch07_dqn import gym; "
        f"sys.stdout.buffer.write(pickle.dumps(gym._of_seed({seed!r})))"
    )
    names = ("jax_default_prng_impl", "jax_threefry_partitionable", "jax_enable_x64")
    settings = {name.upper(): str(getattr(jax.config, name)) for name in names}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | settings | {"JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        check=True,
    )
    return pickle.loads(done.stdout)


def _is_forked() -> bool:
    """Whether this process may have inherited a JAX whose threads it lacks."""
    by_fork = multiprocessing.get_start_method(allow_none=True) in (None, "fork")
    return bool(_forked) or (multiprocessing.parent_process() is not None and by_fork)
