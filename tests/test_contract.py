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


def defines(path, *names):
    """Whether a source file has these functions or variables at its top."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found >= set(names)


MODELS = [path for path in sorted(ROOT.glob("ch*/*.py")) if defines(path, "RECIPES")]


def module(path):
    return importlib.import_module(f"zoo.{path.parent.name}.{path.stem}")


@pytest.fixture(
    params=[(path, recipe) for path in MODELS for recipe in module(path).RECIPES],
    ids=lambda pair: f"{pair[0].parent.name}.{pair[0].stem}-{pair[1]}",
)
def chapter(request):
    path, recipe = request.param
    model = module(path)
    config = model.RECIPES[recipe]
    return model, config, model.example(config, 4)


def metrics_of(aux):
    return aux if isinstance(aux, dict) else aux[0]


@pytest.mark.parametrize("path", sorted(ROOT.glob("ch*/model.py")), ids=lambda p: p.parent.name)
def test_a_model_has_recipes(path):
    assert path in MODELS


@pytest.mark.parametrize("path", MODELS, ids=lambda p: f"{p.parent.name}.{p.stem}")
def test_a_model_has_the_functions_of_the_contract(path):
    assert defines(path, "RECIPES", "init", "loss", "example")


def test_the_first_recipe_is_modern_and_each_config_knows_its_name(chapter):
    model, config, _ = chapter
    assert next(iter(model.RECIPES)) == "modern"
    assert model.RECIPES[config.recipe] is config


def test_loss_is_a_float32_scalar_with_gradients_like_the_parameters(chapter, getkey):
    model, config, batch = chapter
    params = model.init(getkey(), config)
    (value, aux), grads = jax.jit(jax.value_and_grad(model.loss, has_aux=True))(
        params, batch, getkey()
    )
    assert value.shape == ()
    assert value.dtype == jnp.float32
    assert all(m.shape == () for m in metrics_of(aux).values())
    assert jax.tree.structure(grads) == jax.tree.structure(params)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_the_same_key_gives_the_same_parameters_and_another_key_others(chapter, getkey):
    model, config, _ = chapter
    key = getkey()
    one, again = model.init(key, config), model.init(jax.random.clone(key), config)
    other = model.init(getkey(), config)
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(one)]
    kernels = ["kernel" in name or "embedding" in name for name in names]
    assert any(kernels)
    for a, b, c, kernel in zip(*map(jax.tree.leaves, (one, again, other)), kernels, strict=True):
        assert np.array_equal(a, b)
        assert not kernel or not np.array_equal(a, c)


def test_without_a_key_the_loss_is_deterministic_and_jit_changes_nothing(chapter, getkey):
    model, config, batch = chapter
    params = model.init(getkey(), config)
    plain, _ = model.loss(params, batch)
    again, _ = model.loss(params, batch)
    compiled, _ = jax.jit(model.loss)(params, batch)
    assert plain == again
    np.testing.assert_allclose(plain, compiled, rtol=1e-5)


def test_a_jitted_loss_is_traced_once(chapter, getkey):
    model, config, batch = chapter
    traces = []

    @jax.jit
    def counted(params, batch):
        traces.append(1)
        return model.loss(params, batch)

    for seed in range(3):
        counted(model.init(jax.random.key(seed), config), batch)
    assert len(traces) == 1


@pytest.mark.parametrize("path", MODELS, ids=lambda p: f"{p.parent.name}.{p.stem}")
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
