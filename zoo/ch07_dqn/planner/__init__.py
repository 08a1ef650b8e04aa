"""One Q-network for mazes that it has never seen: `planner.init`, `planner.apply` ..."""

from zoo.ch07_dqn.planner.model import RECIPES, Config, apply, example, image, init, loss, read
