"""The maze for programs that expect Gymnasium (`pip install -e '.[gym]'`).

Plain Python on the tables of `environment.Params`: one step at a time is faster so than by JAX.
"""

from typing import Any

import gymnasium
import jax
import numpy as np

from zoo.ch07_dqn import environment
from zoo.ch07_dqn import maze as mazes


class MazeEnv(gymnasium.Env):
    """One maze; the observation is the number of the site, as in `environment`.

    Args:
      params: the maze with its rewards; by default the maze of `seed` with clean ones.
      seed: of that maze.
      render_mode: `ansi` makes `render` return text.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 10}  # noqa: RUF012 (Gymnasium's form)

    def __init__(
        self,
        params: environment.Params | None = None,
        seed: int = 0,
        render_mode: str | None = None,
    ):
        if params is None:
            params = environment.modern(mazes.generate(jax.random.key(seed)))
        self.maze = jax.tree.map(np.asarray, params.maze)
        self.rewards = np.asarray(params.rewards).tolist()
        self.bump, self.limit = float(params.bump), int(params.limit)
        self.starts = np.asarray(params.starts)[: int(params.choices)].tolist()
        self.to = np.asarray(mazes.neighbours(params.maze.exits)).tolist()
        self.legal = np.asarray(mazes.legal(params.maze.exits.reshape(-1)))
        self.goal = int(params.maze.goal)
        self.observation_space = gymnasium.spaces.Discrete(len(self.rewards))
        self.action_space = gymnasium.spaces.Discrete(len(mazes.ACTIONS))
        self.render_mode = render_mode
        self.site, self.time = self.starts[0], 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """A new episode; with several starts one of them is drawn."""
        super().reset(seed=seed)
        self.site, self.time = self.starts[0], 0
        if len(self.starts) > 1:
            self.site = self.starts[int(self.np_random.integers(len(self.starts)))]
        return self.site, {"legal": self.legal[self.site].copy()}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """(observation, reward, terminated, truncated, info), as `environment.step` has them."""
        before, self.site = self.site, self.to[self.site][action]
        reward = self.bump if self.site == before else self.rewards[self.site]
        self.time += 1
        terminated = self.site == self.goal
        truncated = not terminated and self.time >= self.limit
        return self.site, reward, terminated, truncated, {"legal": self.legal[self.site].copy()}

    def render(self) -> str | None:
        """The maze in text with `@` where the walker is."""
        return mazes.draw(self.maze, {self.site: "@"}) if self.render_mode == "ansi" else None
