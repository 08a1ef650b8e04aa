"""What holds for every chapter: init, apply and loss are pure, and agree with one another."""

import ast
import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo

ROOT = Path(zoo.__file__).parent


def cnn_batch(config):
    images = jax.random.normal(jax.random.key(7), (4, 32, 32, 3))
    return {"image": images, "label": jnp.arange(4)}


CHAPTERS = {"ch06_cnn": cnn_batch}


@pytest.fixture(
    params=[
        (name, recipe)
        for name in CHAPTERS
        for recipe in importlib.import_module(f"zoo.{name}").RECIPES
    ],
    ids="-".join,
)
def chapter(request):
    name, recipe = request.param
    package = importlib.import_module(f"zoo.{name}")
    config = package.RECIPES[recipe]
    return package, config, CHAPTERS[name](config)


def metrics_of(aux):
    return aux if isinstance(aux, dict) else aux[0]


def test_every_chapter_with_a_model_is_listed_here():
    assert {p.parent.name for p in ROOT.glob("ch*/model.py")} == set(CHAPTERS)


def test_the_first_recipe_is_modern_and_each_config_knows_its_name(chapter):
    package, config, _ = chapter
    assert next(iter(package.RECIPES)) == "modern"
    assert package.RECIPES[config.recipe] is config


def test_loss_is_a_float32_scalar_with_gradients_like_the_parameters(chapter, getkey):
    package, config, batch = chapter
    params = package.init(getkey(), config)
    (value, aux), grads = jax.jit(jax.value_and_grad(package.loss, has_aux=True))(
        params, batch, getkey()
    )
    assert value.shape == ()
    assert value.dtype == jnp.float32
    assert all(m.shape == () for m in metrics_of(aux).values())
    assert jax.tree.structure(grads) == jax.tree.structure(params)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_the_same_key_gives_the_same_parameters_and_another_key_others(chapter, getkey):
    package, config, _ = chapter
    key = getkey()
    one, again = package.init(key, config), package.init(jax.random.clone(key), config)
    other = package.init(getkey(), config)
    kernels = [leaf.ndim > 1 for leaf in jax.tree.leaves(one)]
    for a, b, c, kernel in zip(*map(jax.tree.leaves, (one, again, other)), kernels, strict=True):
        assert np.array_equal(a, b)
        assert not kernel or not np.array_equal(a, c)


def test_without_a_key_the_loss_is_deterministic_and_jit_changes_nothing(chapter, getkey):
    package, config, batch = chapter
    params = package.init(getkey(), config)
    plain, _ = package.loss(params, batch)
    again, _ = package.loss(params, batch)
    compiled, _ = jax.jit(package.loss)(params, batch)
    assert plain == again
    np.testing.assert_allclose(plain, compiled, rtol=1e-5)


def test_a_jitted_loss_is_traced_once(chapter, getkey):
    package, config, batch = chapter
    traces = []

    @jax.jit
    def counted(params, batch):
        traces.append(1)
        return package.loss(params, batch)

    for seed in range(3):
        counted(package.init(jax.random.key(seed), config), batch)
    assert len(traces) == 1


@pytest.mark.parametrize("path", sorted(ROOT.glob("ch*/model.py")), ids=lambda p: p.parent.name)
def test_model_imports_nothing_of_zoo_but_its_operations(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{a.name}" for a in node.names if "zoo" in (node.module or "")}
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names if "zoo" in a.name}
    assert found <= {"zoo.common.ops"}


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("ch*/*.py")), ids=lambda p: f"{p.parent.name}/{p.name}"
)
def test_every_public_definition_has_a_docstring(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name
