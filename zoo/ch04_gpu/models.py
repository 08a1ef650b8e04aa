"""What the chapter measures: every model of the zoo, and the book's own where it timed them."""

import functools
from typing import Any, NamedTuple

import jax

import zoo
from zoo.common import fit, keys
from zoo.common.data import DataError
from zoo.common.task import Task

BOOK_SECONDS = {"feedforward-book": (26.5, 23.5), "cnn-book": (166.0, 145.0)}
"""Seconds an epoch in the book: on its CPU (Core i7-2700K) and its GPU (GTX 960)."""


class Model(NamedTuple):
    """A task under one of its recipes."""

    task: Task
    recipe: str

    @property
    def name(self) -> str:
        """The task's label; with the recipe, if that is not the default."""
        default = self.recipe == next(iter(self.task.recipes))
        return self.task.label if default else f"{self.task.label}-{self.recipe}"

    @property
    def config(self) -> Any:
        """The recipe's configuration."""
        return self.task.recipes[self.recipe]

    @property
    def batch_size(self) -> int:
        """Of the recipe; the first network has four rows, and all of them make a batch."""
        return getattr(self.config, "batch_size", 4)

    def random(self, examples: int | None = None) -> fit.Batch:
        """So many random examples, or as many as an epoch of the chapter has."""
        return self.task.random(self.config, examples or self.task.epoch)

    def step(self, batch: fit.Batch) -> tuple[Any, fit.State, fit.Batch]:
        """One update as a pure function, with the state and the batch that it takes."""
        task, config = self.task, self.config
        loss, optimizer = task.losses(config, 1)[0], task.optimizer(config, 1)
        step = fit.make_step(loss, optimizer, task.average(config))
        return step, task.begin(config, batch), task.prepare(config, batch)

    def example(self, size: int) -> tuple[Any, Any]:
        """Parameters and a batch of `model.example`, NumPy arrays."""
        module, config = self.task.model, self.config
        params = module.init(keys.derive(config.seed, "weights"), config)
        return jax.device_get((params, module.example(config, size)))


@functools.cache
def every() -> tuple[Model, ...]:
    """All tasks under their default recipes, and the recipes that the book timed."""
    models = []  # cached, since `zoo.tasks` imports all chapters
    for task in zoo.tasks():
        own = [Model(task, recipe) for recipe in task.recipes]
        models += [m for m in own if m.recipe == own[0].recipe or m.name in BOOK_SECONDS]
    return tuple(models)


def choose(names: tuple[str, ...] = ()) -> list[Model]:
    """The models of these names, or all.

    Raises:
      DataError: there is no such model.
    """
    known = {model.name: model for model in every()}
    for name in names:
        if name not in known:
            raise DataError(f"got the model {name!r}, expected one of {', '.join(known)}")
    return [known[name] for name in names] or list(known.values())
