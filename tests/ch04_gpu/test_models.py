"""The table of models: every model of the zoo has a row, and each row can be trained and asked."""

import ast
import importlib
from pathlib import Path

import jax
import pytest

import zoo
from zoo.ch04_gpu import models
from zoo.common import fit
from zoo.common.data import DataError

ROOT = Path(zoo.__file__).parent


def modules_with_recipes():
    """Names of the modules `zoo.chXX.*` that define RECIPES."""
    for path in sorted(ROOT.glob("ch*/*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            targets = getattr(node, "targets", [getattr(node, "target", None)])
            if "RECIPES" in [target.id for target in targets if isinstance(target, ast.Name)]:
                yield f"zoo.{path.parent.name}.{path.stem}"


@pytest.mark.parametrize("name", list(modules_with_recipes()))
def test_every_model_of_the_zoo_has_a_row(name):
    assert importlib.import_module(name) in [model.module for model in models.MODELS]


def test_names_are_distinct_and_the_books_times_belong_to_its_programs():
    names = [model.name for model in models.MODELS]
    assert len(set(names)) == len(names)
    assert {models.choose((name,))[0].recipe for name in models.BOOK_SECONDS} == {"book"}


@pytest.mark.parametrize("model", models.MODELS, ids=lambda model: model.name)
def test_a_row_can_be_trained_and_asked(model):
    config, size, made = model.config, models.batch_size(model), []
    data = model.make(config, size)
    assert {len(array) for array in data.values()} == {size}

    def start():  # traced only: nothing is compiled
        optimizer, state = model.start(config, data)
        made.append(optimizer)
        return state

    state = jax.eval_shape(start)
    step = fit.make_step(model.loss(config), made[0])
    after, metrics = jax.eval_shape(step, state, data)
    assert set(metrics) == set(state.totals) - {"bad_step"}
    assert jax.tree.structure(after.params) == jax.tree.structure(state.params)

    def infer(params, stats, batch):
        return model.infer(config, params, stats, batch)

    assert jax.eval_shape(infer, state.params, state.stats, data).shape[0] == size


def test_the_books_network_is_784_300_100_10():
    work = models.work(models.choose(("feedforward-book",))[0], 100)
    shapes = [layer["kernel"].shape for layer in work.state.params]
    assert shapes == [(784, 300), (300, 100), (100, 10)]


def test_an_unknown_model_is_named_with_those_there_are():
    with pytest.raises(DataError, match="'lenet', expected one of first-network, feedforward-book"):
        models.choose(("lenet",))
