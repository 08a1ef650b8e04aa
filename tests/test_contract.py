"""What holds for every chapter: init, apply and loss are pure, and agree with one another."""

import ast
import dataclasses
import importlib
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

import zoo
from zoo.common import cli, device, fit, ops

ROOT = Path(zoo.__file__).parent


TASKS = {task.name: task for task in zoo.tasks()}
CASES = [(task, recipe) for task in TASKS.values() for recipe in task.recipes]
TINY = runpy.run_path(str(Path(__file__).with_name("tiny.py")))["TINY"]
MODELS = sorted({Path(task.model.__file__) for task in TASKS.values()})


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0].name}-{case[1]}")
def case(request):
    return request.param


@pytest.fixture
def chapter(case):
    """For what needs shapes alone: the recipe as it is."""
    task, recipe = case
    config = task.recipes[recipe]
    return task.model, config, task.model.example(config, 4)


@pytest.fixture
def small(case):
    """For what computes: the recipe with a tiny model."""
    task, recipe = case
    config = dataclasses.replace(task.recipes[recipe], **TINY[task.name])
    return task.model, config, task.model.example(config, 4)


def init(model, key, config):
    """Its parameters, from one program: operation by operation it takes a hundred."""
    return jax.jit(model.init, static_argnums=1)(key, config)


def metrics_of(aux):
    return aux if isinstance(aux, dict) else aux[0]


def test_every_model_of_the_zoo_is_a_task():
    assert sorted(ROOT.glob("ch*/**/model.py")) == MODELS


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_model_has_the_functions_of_the_contract(task):
    for name in ("Config", "RECIPES", "init", "apply", "loss", "example"):
        assert hasattr(task.model, name), name
    package = importlib.import_module(task.package)
    if not task.second:  # the chapter's main model
        assert package.TASKS[0] is task
        for name in ("Config", "RECIPES", "init", "apply", "loss"):
            assert getattr(package, name) is getattr(task.model, name)
        assert package.train == task.train


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_each_field_of_a_configuration_is_explained(task):
    for field in dataclasses.fields(task.config_type):
        assert cli.documentation(task.config_type).get(field.name), field.name


def test_the_first_recipe_is_modern_and_each_config_knows_its_name(chapter):
    model, config, _ = chapter
    first = "speedrun" if model.__name__ == "zoo.ch06_cnn.speedrun.model" else "modern"
    assert next(iter(model.RECIPES)) == first
    assert model.RECIPES[config.recipe] is config


def test_loss_is_a_float32_scalar_with_gradients_like_the_parameters(small, getkey):
    model, config, batch = small
    params = init(model, getkey(), config)
    (value, aux), grads = jax.jit(jax.value_and_grad(model.loss, has_aux=True))(
        params, batch, getkey()
    )
    assert value.shape == ()
    assert value.dtype == jnp.float32
    assert all(m.shape == () for m in metrics_of(aux).values())
    assert jax.tree.structure(grads) == jax.tree.structure(params)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_two_shards_of_a_batch_give_the_loss_and_gradient_of_the_whole(chapter, getkey):
    model, config, batch = chapter
    params = model.init(getkey(), config)
    gradient = jax.value_and_grad(model.loss, has_aux=True)

    def whole(params, batch):
        (value, aux), grads = gradient(params, batch)
        return value, metrics_of(aux), grads

    def shard(params, batch):
        return ops.mean_over_shards(whole(params, batch))

    everywhere, split = PartitionSpec(), PartitionSpec(ops.SHARDS)
    specs = {"in_specs": (everywhere, split), "out_specs": everywhere, "check_vma": False}
    halves = jax.shard_map(shard, mesh=device.mesh(2), **specs)
    found, expected = jax.jit(halves)(params, batch), jax.jit(whole)(params, batch)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * float(jnp.abs(b).max()))


def test_a_loss_refuses_every_array_of_another_shape(chapter, getkey):
    """By broadcasting, most of them would give a wrong loss without a word."""
    model, config, batch = chapter
    params = jax.eval_shape(lambda key: model.init(key, config), getkey())
    for name, array in batch.items():
        changed = {"longer": array[..., None], "flat": array.reshape(-1)}
        if array.ndim == 1:
            changed["flat"] = array[0]
        if len(batch) > 1:
            changed["fewer"] = array[:-1]
        for kind, other in changed.items():
            if other.shape == array.shape:
                continue
            print(f"{name} {kind}: {other.shape} for {array.shape}")
            with pytest.raises(ValueError, match="shape"):
                jax.eval_shape(model.loss, params, {**batch, name: other})


def test_a_loss_names_an_array_that_is_missing(chapter, getkey):
    model, config, batch = chapter
    params = jax.eval_shape(lambda key: model.init(key, config), getkey())
    for name in batch:
        rest = {key: array for key, array in batch.items() if key != name}
        with pytest.raises(ValueError, match=rf"got the arrays .*expected .*: {name} is missing"):
            jax.eval_shape(model.loss, params, rest)


def test_a_loss_refuses_bytes_for_scaled_images_and_fractions_for_numbers(chapter, getkey):
    model, config, batch = chapter
    params = jax.eval_shape(lambda key: model.init(key, config), getkey())
    if "image" in batch:
        unscaled = {**batch, "image": batch["image"].astype(jnp.uint8)}
        with pytest.raises(ValueError, match=r"images are uint8, expected floats: `scale_pixels`"):
            jax.eval_shape(model.loss, params, unscaled)
    integers = [k for k, v in batch.items() if jnp.issubdtype(v.dtype, jnp.integer)]
    for name in integers:
        if name in ("label", "rating", "input"):
            other = {**batch, name: batch[name].astype(jnp.float32)}
            with pytest.raises(ValueError, match=r"float32, expected integers"):
                jax.eval_shape(model.loss, params, other)


def test_the_same_key_gives_the_same_parameters_and_another_key_others(small, getkey):
    model, config, _ = small
    key = getkey()
    one, again = init(model, key, config), init(model, jax.random.clone(key), config)
    other = init(model, getkey(), config)
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(one)]
    kernels = ["kernel" in name or "embedding" in name for name in names]
    assert any(kernels)
    for a, b, c, kernel in zip(*map(jax.tree.leaves, (one, again, other)), kernels, strict=True):
        assert np.array_equal(a, b)
        # A kernel that begins as the identity may hold nothing random.
        random = kernel and not getattr(config, "identity", False)
        assert not random or not np.array_equal(a, c)
    assert any(
        not np.array_equal(a, c) for a, c in zip(*map(jax.tree.leaves, (one, other)), strict=True)
    )


def test_without_a_key_the_loss_is_deterministic_and_traced_once_and_jit_changes_nothing(
    small, getkey
):
    model, config, batch = small
    traces = []

    @jax.jit
    def counted(params, batch):
        traces.append(1)
        return model.loss(params, batch)

    for _ in range(2):
        params = init(model, getkey(), config)
        once, again = (counted(params, batch)[0] for _ in range(2))
        assert once == again
    assert len(traces) == 1
    np.testing.assert_allclose(model.loss(params, batch)[0], once, rtol=1e-5)


def imports(path):
    """The modules of zoo that a file imports, by their full names."""
    package = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts[:-1])
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            home = node.module or ""
            if node.level:  # a relative import
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                home = ".".join([*parents, home]).rstrip(".")
            for alias in node.names:  # a module of a package, or a name of a module
                name = f"{home}.{alias.name}"
                within = ROOT.parent.joinpath(*name.split("."))
                is_module = within.is_dir() or within.with_suffix(".py").exists()
                found.add(name if is_module else home)
    return {name for name in found if name.partition(".")[0] == "zoo"}


@pytest.mark.parametrize("path", MODELS, ids=lambda p: str(p.relative_to(ROOT)))
def test_model_imports_nothing_of_zoo_but_operations_settings_and_its_like(path):
    """Its chapter's own modules may be imported, if they in turn import nothing else."""
    chapter = f"zoo.{path.relative_to(ROOT).parts[0]}."
    seen, left = set(), imports(path)
    while left:
        name = left.pop()
        seen.add(name)
        if name.startswith(chapter):
            left |= imports(ROOT.parent.joinpath(*name.split(".")).with_suffix(".py")) - seen
    others = {name for name in seen if not name.startswith(chapter)}
    assert others <= {"zoo.common.ops", "zoo.common.settings"}


def test_imports_are_seen_in_every_form(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path / "zoo")
    path = tmp_path / "zoo/ch99/model.py"
    path.parent.mkdir(parents=True)
    for name in ("common", "cells", "other"):
        (path.parent / f"{name}.py").touch()
    path.write_text(
        "import zoo.a\nfrom zoo import b\nfrom . import cells\nfrom .other import name\n"
        "from ..ch98.model import c\nimport jax\n"
    )
    assert imports(path) == {"zoo.a", "zoo", "zoo.ch99.cells", "zoo.ch99.other", "zoo.ch98.model"}


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("**/*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_every_public_definition_has_a_docstring(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


@pytest.mark.parametrize(("task", "recipe"), CASES, ids=[f"{t.name}-{r}" for t, r in CASES])
def test_a_task_describes_its_state_weights_and_predictions_alike(task, recipe):
    """Nothing is computed: shapes alone."""
    config = task.recipes[recipe]
    weights = jax.eval_shape(task.weights, task.like(config))
    assert {"params"} <= set(weights) <= {"params", "stats"}
    for name, prediction in task.predictions(config).items():
        batch = {
            key: jax.ShapeDtypeStruct((3, *spec.shape), spec.dtype)
            for key, spec in prediction.inputs.items()
        }
        outputs = jax.eval_shape(prediction.function, weights, batch)
        assert all(a.shape[0] == 3 for a in outputs.values()), name
        assert prediction.about
    assert task.predictions(config) is task.predictions(config)  # so that it compiles once


@pytest.mark.parametrize(("task", "recipe"), CASES, ids=[f"{t.name}-{r}" for t, r in CASES])
def test_the_losses_of_a_task_take_its_random_data(task, recipe):
    config = task.recipes[recipe]
    size = getattr(config, "batch_size", 4)
    data = task.random(config, size)
    state = jax.eval_shape(lambda: task.begin(config, data))
    data = task.prepare(config, data)
    kept = fit.kept(state)
    training, _ = task.losses(config, 1)
    value, aux = jax.eval_shape(training, state.params, data, state.key, *kept)
    metrics = aux[0] if kept else aux
    assert value.shape == ()
    assert set(metrics) == set(task.metrics)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_under_64_bits_states_are_the_same_and_functions_compute_in_them(task):
    config = dataclasses.replace(next(iter(task.recipes.values())), **TINY[task.name])
    data = task.random(config, getattr(config, "batch_size", 1))

    def bits(state):
        words = jax.tree.map(lambda a: jax.random.key_data(a) if is_key(a) else a, state)
        return [(a.dtype, a.tobytes()) for a in map(np.asarray, jax.tree.leaves(words))]

    def is_key(leaf):
        return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)

    expected = bits(task.start(config, data))
    with jax.enable_x64(True):
        assert bits(task.start(config, data)) == expected
        shapes = jax.tree.leaves(task.like(config))
        assert not any(str(leaf.dtype).endswith("64") for leaf in shapes)
        params, batch = task.model.init(jax.random.key(0), config), task.model.example(config)
        shapes = jax.eval_shape(jax.grad(task.model.loss, has_aux=True), params, batch)[0]
        assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {np.dtype(np.float64)}
