"""The first network as a task; its training owns its loop, `program.run_program`."""

import functools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from zoo.ch02_basic_nn import model, program
from zoo.common import fit
from zoo.common.data import Dataset
from zoo.common.task import Arrays, Loop, Prediction, Task, Weights
from zoo.common.trained import Trained


class State(NamedTuple):
    """What a checkpoint holds, in float32; a run's summary.json has the weights in full."""

    params: model.Params
    step: jax.Array  # int32 []


def load(config: model.Config, data: str = "auto", data_dir: Path | None = None) -> Dataset:
    """The four rows of the book; what is trained on is tested on."""
    rows = {k: np.asarray(v) for k, v in model.example(config).items()}
    description = "the toy's four rows: 001 and 011 are 0, 101 and 111 are 1"
    return Dataset("toy", "real", "official", description, rows, rows, ("0", "1"))


def random(config: model.Config, count: int) -> fit.Batch:
    """The rows again and again."""
    return {k: np.asarray(v) for k, v in model.example(config, count).items()}


def losses(config: model.Config, steps: int) -> tuple[fit.Loss, fit.Loss]:
    """The cost of the recipe."""
    loss = functools.partial(model.loss, cost=config.cost)
    return loss, loss


def start(config: model.Config, data: fit.Batch) -> State:
    """The weights of the recipe, or drawn ones."""
    return State(jax.tree.map(jnp.float32, program.start(config)), jnp.int32(0))


def iterate(
    config: model.Config, state: State, data: fit.Batch, test: Any = None, mesh: Any = None
) -> Iterator[fit.Progress[State]]:
    """One report after the last step. All steps are made in one call, so it begins anew.

    Raises:
      FinishedError: the state has all steps behind it.
    """
    fit.check_unfinished(state, 1, config.steps)
    began = time.perf_counter()
    params, history = program.run_program(config, data)
    last = State(jax.tree.map(jnp.float32, params), jnp.int32(config.steps))
    metrics = {f"train_{name}": float(history[name][-1]) for name in ("loss", "accuracy")}
    yield fit.Progress(last, 1, config.steps, time.perf_counter() - began, 0.0, metrics)


@functools.cache
def predictions(config: model.Config) -> dict[str, Prediction]:
    """The answer for a row."""

    def predict(weights: Weights, inputs: Arrays) -> Arrays:
        return {"probability": jax.nn.sigmoid(model.apply(weights["params"], inputs["input"]))}

    row = {"input": jax.ShapeDtypeStruct((len(model.INPUTS[0]),), np.float32)}
    return {"answer": Prediction("the probability that the answer to a row is 1", row, predict)}


def pictures(trained: Trained, dataset: Dataset) -> dict[str, Any]:
    """The outputs while it learns, from training again: that takes a moment."""
    from zoo.ch02_basic_nn import figures

    config = trained.config
    _, history = program.run_program(config, dataset.train)
    caption = f"recipe {config.recipe}: {config.cost}, learning rate {config.learning_rate:g}"
    rows = np.array(model.INPUTS), np.array(model.LABELS)
    return {"training": figures.training(history["output"], history["loss"], *rows, caption)}


TASK = Task(
    name="ch02_basic_nn",
    model=model,
    about="the first network",
    load=load,
    random=random,
    optimizer=lambda config, steps: optax.sgd(config.learning_rate),
    losses=losses,
    metrics=("accuracy",),
    predictions=predictions,
    pictures=pictures,
    weights=lambda state: {"params": state.params},
    loop=Loop(iterate, start, steps=lambda config: config.steps),
    unit="rows",
    epoch=40_000,  # 10,000 steps of four rows
    synthetic=True,
)
