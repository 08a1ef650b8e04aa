"""What holds for whole runs of every task: each field counts, and no key is used twice.

Tiny models are trained for a few steps by `Task.train` without compilation: each operation is a
call of its own, which takes less time than compiling a program for each case. Where a field changes
what is traced of an update, that shows it without a run.
"""

import ast
import collections
import contextlib
import dataclasses
import functools
import runpy
import typing
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import pytest
from jax.interpreters import partial_eval as pe

import zoo
from zoo.ch02_basic_nn import program
from zoo.ch05_lstm import generate
from zoo.ch05_lstm import text as texts
from zoo.ch07_dqn import book, kinds
from zoo.ch07_dqn import maze as mazes
from zoo.ch07_dqn.agent import train as agents
from zoo.ch07_dqn.planner import train as planner
from zoo.ch08_vae.vae import latent, likelihood
from zoo.common import device, fit, keys
from zoo.common.trained import Trained

ROOT = Path(zoo.__file__).parent
TASKS = {task.name: task for task in zoo.tasks()}
TINY = runpy.run_path(str(Path(__file__).with_name("tiny.py")))["TINY"]

TOGETHER = {
    ("ch02_basic_nn", "hidden"): {"weights": None},
    ("ch03_mnist_ae_rbm", "target_off"): {"objective": "product"},
    ("ch03_mnist_ae_rbm/rbm", "liked"): {"units": "binary"},
    ("ch05_lstm", "weight_decay"): {"learning_rate": 0.1},
    ("ch06_cnn", "dropout_bug"): {"dropout": 0.5, "batch_norm": False},
    # At its own rates so small a network soon says the same of every image.
    ("ch06_cnn/speedrun", "views"): {"learning_rate": 0.01, "bias_rate": 0.1, "head_rate": 0.1},
    ("ch07_dqn", "agents"): {"mazes": 2},
    ("ch07_dqn", "crossed_cost"): {"loss": "squared"},
    ("ch07_dqn", "endless"): {"limit": 3},
    ("ch07_dqn", "extra"): {"rows": 3},
    ("ch07_dqn", "method"): {"rows": 4},
    ("ch07_dqn", "n_step"): {"rewards": "book"},
    ("ch07_dqn", "scaled"): {"network": "coordinates"},
    ("ch08_vae", "adam_doubled"): {"solver": "gorgonia"},
    ("ch08_vae", "importance_weighted"): {"samples": 3},
    ("ch08_vae/conv", "hidden"): {"recipe": "dense"},
}
"""Fields that count only beside other values of others."""

VALUES = {
    ("ch02_basic_nn", "weights"): [(0.1, 0.2, 0.3)],
    ("ch03_mnist_ae_rbm/rbm", "steps"): [(1,), (3,)],
    ("ch03_mnist_ae_rbm/rbm", "rating_scale"): [(0.5, 5.0, 0.5), (1.0, 9.0, 2.0)],
    ("ch03_mnist_ae_rbm", "size"): [8],
    ("ch03_mnist_ae_rbm/autoencoder", "size"): [8],
    ("ch06_cnn", "size"): [24],
    ("ch06_cnn/speedrun", "size"): [12],
    ("ch08_vae", "size"): [8],
    ("ch08_vae/conv", "size"): [8],
    ("ch07_dqn", "epoch_steps"): [18],
    ("ch07_dqn", "target_every"): [12, 3],
    ("ch07_dqn/planner", "target_every"): [1],
    ("ch05_lstm", "chrono"): [30],
    ("ch05_lstm", "clip"): [1e-3],  # below the norm of every gradient
    ("ch06_cnn/speedrun", "batch_size"): [4],
    ("ch06_cnn/speedrun", "patch"): [3],
    ("ch06_cnn/speedrun", "rise"): [0.9],
    ("ch06_cnn/speedrun", "average"): [0.05],  # the share is 20 / (20 + step) at least
    ("ch07_dqn", "epsilon_min"): [0.9],
    ("ch07_dqn/planner", "rows"): [5],
    ("ch07_dqn/planner", "columns"): [5],
    ("ch07_dqn/planner", "epsilon_min"): [0.9],
}
"""Other values to try, where twice as much will not do."""

ELSEWHERE = {
    "recipe": "a name; what it stands for are the other fields",
    "dataset": "which data are loaded: the loaders' tests",
    "split": "which data are loaded: the loaders' tests",
    "text": "which text is loaded: the loaders' tests",
    "images": "which pictures are loaded: the loaders' tests",
    "ratings": "which ratings are loaded: the loaders' tests",
    "titles": "which titles are loaded: the loaders' tests",
    "maze": "which plan is read: tests of `plans`",
    ("ch03_mnist_ae_rbm/rbm", "example"): "how data are laid out: tests of `ratings`",
    ("ch05_lstm", "vocabulary"): "counted in the data",
    ("ch06_cnn/speedrun", "precision"): "bfloat16 convolutions take a minute without a compiler",
}
"""Fields that a run on made-up data cannot show, and why."""


class Uncompiled:
    """What `device.jit` gives, but each operation is a call of its own."""

    def __init__(self, function):
        self.function = function

    def __call__(self, *arguments):
        return self.function(*arguments)

    def lower(self, *arguments):
        return self

    def compile(self):
        return self


@contextlib.contextmanager
def uncompiled():
    """Within it, `Task.train` and all that it calls compute step by step."""
    with (
        mock.patch.object(device, "jit", lambda function, **options: Uncompiled(function)),
        mock.patch.object(planner, "TESTED", 2),  # mazes
        jax.disable_jit(),
    ):
        yield


@functools.cache
def compiled_maze(kind, grid):
    rows, columns, method, extra = kind
    return jax.jit(
        lambda key: mazes.generate(key, rows, columns, method=method, extra=extra, grid=grid)
    )


def generate_compiled(key, config, grid="tiles"):
    """As `kinds.generate`; a maze takes a hundred steps, too many for single operations."""
    with jax.disable_jit(False):
        kind = (config.rows, config.columns, config.method, config.extra)
        return compiled_maze(kind, grid)(key)


def other_values(config, field):
    """Values of a field that differ from the configuration's."""
    value = getattr(config, field.name)
    hint = typing.get_type_hints(type(config))[field.name]
    if typing.get_origin(hint) is typing.Literal:
        return [choice for choice in typing.get_args(hint) if choice != value]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [2 * value + (value < 1)]
    if isinstance(value, float):
        return [value / 2 if value else 0.5]
    assert isinstance(value, tuple), f"no other value of {field.name} is known: name one in VALUES"
    return [tuple(2 * number for number in value)]


def leaves(tree):
    """All leaves by name, with dtype, shape and bytes."""
    found = {}
    for path, leaf in jax.tree.leaves_with_path(tree):
        typed = isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(
            leaf.dtype, jax.dtypes.prng_key
        )
        array = np.asarray(jax.random.key_data(leaf) if typed else leaf)
        found[jax.tree_util.keystr(path)] = (str(array.dtype), array.shape, array.tobytes())
    return found


@functools.cache
def start(name, config):
    """The state before the first update."""
    task = TASKS[name]
    with uncompiled(), mock.patch.object(kinds, "generate", generate_compiled):
        data = task.load(config, "auto", None).train if task.synthetic else task.random(config, 8)
        return leaves(task.start(config, data))


@functools.cache
def outcome(name, config):
    """All that comes of a run."""
    task, metrics = TASKS[name], []

    def follow(reports):
        for progress in reports:
            metrics.append(progress.metrics)
        return progress.state

    with uncompiled(), mock.patch.object(kinds, "generate", generate_compiled):
        if task.synthetic:
            data, test = task.load(config, "auto", None).train, None
        else:
            data, test = task.random(config, 8), task.random(config, 6)
        if name == "ch05_lstm":  # its test rows are longer than those of training
            test = None
        state = task.train(config, data, test, follow=follow)
    weights, rng = task.weights(state), np.random.default_rng(0)
    found = {"state": state, "metrics": [m for m in metrics if m]}
    for prediction_name, prediction in task.predictions(config).items():
        inputs = {}
        for key, spec in prediction.inputs.items():
            highest = 255 if key == "image" else 2
            inputs[key] = rng.integers(0, highest, (2, *spec.shape)).astype(spec.dtype)
        with uncompiled():
            found[prediction_name] = prediction.function(weights, inputs)
    return leaves(found)


@functools.cache
def shapes(name, config):
    """What of a run is known without one: the shapes of its state and of a prediction's inputs."""
    task = TASKS[name]
    inputs = {key: one.inputs for key, one in task.predictions(config).items()}
    found = jax.tree.leaves_with_path((task.like(config), inputs))
    return [(jax.tree_util.keystr(path), leaf.shape, leaf.dtype) for path, leaf in found]


def traced(function, *arguments):
    """The text of a function's program without what no result depends on."""
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    return str(pe.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[0])


@functools.cache
def programs(name, config):
    """An update, the loss of a test and the predictions; None of an algorithm with its own loop."""
    task = TASKS[name]
    if task.loop is not None:
        return None
    training, testing = task.losses(config, 2)
    optimizer = task.optimizer(config, task.updates(config, 2))
    batch = jax.eval_shape(lambda: task.prepare(config, task.random(config, 4)))
    state = task.like(config)
    weights = jax.eval_shape(task.weights, state)
    kept = [weights["stats"]] if "stats" in weights else []
    found = [traced(fit.make_step(training, optimizer, task.average(config)), state, batch)]
    if state.carry is None:  # else a test has one of another shape
        found.append(traced(testing, weights["params"], batch, state.key, *kept))
    for prediction in task.predictions(config).values():
        inputs = {
            key: jax.ShapeDtypeStruct((2, *spec.shape), spec.dtype)
            for key, spec in prediction.inputs.items()
        }
        found.append(traced(prediction.function, weights, inputs))
    return found


@functools.cache
def call(name, config):
    """What `fit.iterate` gets; None where it is seen at work, or the loop is the model's own."""
    task = TASKS[name]
    if task.loop is not None or name == "ch03_mnist_ae_rbm":
        return None
    with mock.patch.object(fit, "iterate", return_value=[]) as iterate:
        list(task.iterate(config, task.like(config), task.random(config, 8)))
    (*_, data), options = iterate.call_args
    return {key: options[key] for key in ("epochs", "batch_size", "shuffle")}, leaves(data)


def test_programs_differ_by_what_they_compute_alone():
    """Neither by names of variables nor by addresses, nor by what is thrown away."""
    name = "ch06_cnn"
    config = dataclasses.replace(next(iter(TASKS[name].recipes.values())), **TINY[name])
    assert programs.__wrapped__(name, config) == programs.__wrapped__(name, config)

    def wasteful(x):
        x + 2.0
        return x + 1.0

    assert traced(wasteful, 1.0) == traced(lambda x: x + 1.0, 1.0) != traced(lambda x: x, 1.0)


def cases():
    for name, task in TASKS.items():
        for field in dataclasses.fields(task.config_type):
            if field.name not in ELSEWHERE and (name, field.name) not in ELSEWHERE:
                yield pytest.param(name, field, id=f"{name}-{field.name}")


@pytest.mark.parametrize(("name", "field"), list(cases()))
def test_a_field_counts(name, field):
    task = TASKS[name]
    config = next(iter(task.recipes.values()))
    config = dataclasses.replace(config, **TINY[name] | TOGETHER.get((name, field.name), {}))
    for value in VALUES.get((name, field.name)) or other_values(config, field):
        changed = dataclasses.replace(config, **{field.name: value})
        # From cheap to dear: what computes something else need not be run to show it.
        looks = (shapes, programs, call, start, outcome)
        same = all(look(name, changed) == look(name, config) for look in looks)
        assert not same, f"{field.name}={value!r} changes nothing"


CASES = [(task, recipe) for task in TASKS.values() for recipe in task.recipes]


@pytest.mark.parametrize("name", TASKS)
def test_another_seed_gives_other_weights_and_the_same_seed_the_same(name):
    task = TASKS[name]
    config = dataclasses.replace(next(iter(task.recipes.values())), **TINY[name])

    def first(seed):
        with uncompiled():
            own = dataclasses.replace(config, seed=seed)
            data = task.load(own, "auto", None).train if task.synthetic else task.random(own, 8)
            return jax.tree.leaves(task.weights(task.start(own, data))["params"])

    one, again, other = first(0), first(0), first(1)
    assert all(map(np.array_equal, one, again))
    assert not all(map(np.array_equal, one, other))


@pytest.mark.parametrize("name", [task.name for task in TASKS.values() if task.loop is None])
def test_the_solver_is_made_for_all_updates_of_a_run(name):
    """Its schedule would else end early, or never come to its end."""
    task = TASKS[name]
    config = dataclasses.replace(next(iter(task.recipes.values())), **TINY[name])
    config, seen = dataclasses.replace(config, epochs=3), []

    def optimizer(config, updates):
        seen.append(updates)
        return task.optimizer(config, updates)

    other, data = dataclasses.replace(task, optimizer=optimizer), task.random(config, 8)
    state = jax.eval_shape(lambda: other.begin(config, data))
    with mock.patch.object(fit, "iterate", return_value=[]):
        list(other.iterate(config, state, data))
    assert len(seen) == 2  # for the state and for the loop
    assert set(seen) == {3 * (8 // config.batch_size)}


class Draws:
    """Counts the keys from which random bits are drawn: those of a run, and others apart."""

    def __init__(self):
        self.run, self.mazes, self.again = (collections.Counter() for _ in range(3))
        self.bucket, self.calls = self.run, set()

    def into(self, bucket, function, *arguments, **options):
        before, self.bucket = self.bucket, bucket
        try:
            return function(*arguments, **options)
        finally:
            self.bucket = before

    def of_mazes(self, function):
        """The function, whose draws count as those of mazes."""
        return functools.partial(self.into, self.mazes, function)

    def once(self, function):
        """The function, whose draws count at the first call alone: later ones make the same."""

        def called(*arguments):
            words = [jax.random.key_data(a).tobytes() if isinstance(a, jax.Array) else a
                     for a in arguments]  # fmt: skip
            call = (function.__name__, *words)
            bucket = self.again if call in self.calls else self.bucket
            self.calls.add(call)
            return self.into(bucket, function, *arguments)

        return called


@pytest.fixture
def draws(monkeypatch):
    seen = Draws()
    with jax.disable_jit():
        equations = jax.make_jaxpr(jax.random.bits)(jax.random.key(0)).eqns
    primitive = next(e.primitive for e in equations if e.primitive.name == "random_bits")
    bind = primitive.bind

    def recorded(key, **options):
        if not isinstance(key, jax.core.Tracer):  # a vmapped draw comes again, with all its keys
            words = np.asarray(jax.random.key_data(key))
            seen.bucket.update(row.tobytes() for row in words.reshape(-1, words.shape[-1]))
        return bind(key, **options)

    monkeypatch.setattr(primitive, "bind", recorded)
    monkeypatch.setattr(kinds, "generate", seen.of_mazes(kinds.generate))
    monkeypatch.setattr(book, "make_params", seen.of_mazes(book.make_params))
    monkeypatch.setattr(program, "start", seen.once(program.start))
    monkeypatch.setattr(agents, "make_agents", seen.once(agents.make_agents))
    monkeypatch.setattr(planner, "init", seen.once(planner.init))
    return seen


def run(task, config, epochs, with_test):
    config = dataclasses.replace(config, **TINY[task.name])
    if hasattr(config, "epochs"):
        config = dataclasses.replace(config, epochs=epochs)
    with uncompiled():
        if task.synthetic:
            data, test = task.load(config, "auto", None).train, None
        else:
            data, test = task.random(config, 8), task.random(config, 6) if with_test else None
        return config, task.train(config, data, test)


def after(task, config, state):
    """What else draws from the seed of a run."""
    model = Trained(task, config, task.weights(state))
    with uncompiled():
        if task.name == "ch08_vae":
            images = task.random(config, 4)["image"]
            likelihood.log_likelihoods(model, images, samples=4)
            latent.sample(config, model.params, keys.derive(config.seed, "samples"), 3)
        if task.name == "ch05_lstm" and config.feedback == "true":
            characters = texts.MARKS + tuple(map(chr, range(97, 97 + config.vocabulary - 3)))
            list(generate.stream(model.params, texts.Vocabulary(characters), "a", 5, config.seed))


@pytest.mark.parametrize(("task", "recipe"), CASES, ids=[f"{t.name}-{r}" for t, r in CASES])
def test_no_key_of_a_run_is_used_twice(task, recipe, draws):
    config, state = run(task, task.recipes[recipe], epochs=2, with_test=False)
    after(task, config, state)
    twice = [key for key, count in draws.run.items() if count > 1]
    assert not twice, f"{len(twice)} of {len(draws.run)} keys are used twice"
    assert not draws.run.keys() & draws.mazes.keys()
    assert draws.run or task.name == "ch02_basic_nn"  # whose recipes name their weights


@pytest.mark.parametrize("name", ["ch03_mnist_ae_rbm/autoencoder", "ch08_vae", "ch08_vae/conv"])
def test_the_noise_of_a_test_has_keys_of_its_own(name, draws):
    task = TASKS[name]
    config = next(iter(task.recipes.values()))
    if hasattr(config, "noise"):
        config = dataclasses.replace(config, noise=0.5)
    run(task, config, epochs=1, with_test=False)
    without = len(draws.run)
    draws.run.clear()
    run(task, config, epochs=1, with_test=True)
    assert max(draws.run.values()) == 1
    assert len(draws.run) >= without + 6  # one at least for each of the six images


def test_a_key_used_twice_is_seen(draws):
    key = jax.random.key(0)
    with uncompiled():
        jax.random.normal(jax.random.split(key, 3)[1], (2,))
        jax.vmap(lambda n: jax.random.normal(jax.random.fold_in(key, n)))(np.arange(3))
    assert sorted(draws.run.values()) == [1, 1, 2]


MAZES = {"ch07_dqn/maze.py", "ch07_dqn/planner/train.py", "ch07_dqn/agent/train.py"}
MAZES |= {"ch07_dqn/gym.py"}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_keys_come_from_derive(path):
    """A key of a number is made in `keys` alone; else in models' examples, and of a maze's seed."""
    name = str(path.relative_to(ROOT))
    if name == "common/keys.py":
        return
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(function, ast.FunctionDef) or function.name == "example":
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "jax.random.key":
                (argument,) = map(ast.unparse, node.args)
                assert argument == "seed", f"{name}: {ast.unparse(node)} in {function.name}"
                assert name in MAZES, f"{name}: {ast.unparse(node)} in {function.name}"
