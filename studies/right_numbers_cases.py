"""What `right_numbers` computes: zoo's own functions, each on several shapes.

A case is a pure function with its arguments; a program is a function of zoo that compiles by
itself, or computes one operation after the other, so that it can't be handed to `jax.jit`.
"""

import dataclasses
import functools
import string
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import zoo
from studies import ch05_copy_task as copy_task
from zoo import ch01_graphs
from zoo.ch01_graphs import examples
from zoo.ch02_basic_nn import activations, descent, program
from zoo.ch02_basic_nn import model as first
from zoo.ch02_basic_nn import solvers as racing
from zoo.ch03_mnist_ae_rbm import digits
from zoo.ch03_mnist_ae_rbm.autoencoder import model as autoencoder
from zoo.ch03_mnist_ae_rbm.autoencoder import task as autoencoders
from zoo.ch03_mnist_ae_rbm.feedforward import model as feedforward_model
from zoo.ch03_mnist_ae_rbm.rbm import model as rbm
from zoo.ch03_mnist_ae_rbm.rbm import training as rbm_training
from zoo.ch05_lstm import cells, generate, probes, text
from zoo.ch05_lstm import model as lstm
from zoo.ch06_cnn.cnn import model as cnn
from zoo.ch06_cnn.speedrun import images
from zoo.ch06_cnn.speedrun import model as speedrun
from zoo.ch07_dqn import environment, maze, replay
from zoo.ch07_dqn.agent import model as agent
from zoo.ch07_dqn.agent import train as agents
from zoo.ch07_dqn.planner import model as planner
from zoo.ch07_dqn.planner import train as planners
from zoo.ch08_vae.conv import model as conv_vae
from zoo.ch08_vae.vae import latent, likelihood
from zoo.ch08_vae.vae import model as vae
from zoo.common import device, fit, keys, ops, solvers, trained
from zoo.common.task import Task

BATCHES = (1, 7, 97, 128)
LARGE = 32_769
"""Rows of arrays in functions that treat each row by itself: where one kind of error began."""
ROWS = (*BATCHES, LARGE)
HEAVY = {"ch06_cnn": (1, 7, 97), "ch06_cnn/speedrun": (1, 7), "ch08_vae/conv": (1, 7, 97)}
"""Batches of the models whose convolutions take long in float64."""
FEW = ("free energy", "visible", "biases")
"""What of the Boltzmann machine is computed for many examples."""
NAMED = {"rating": 6, "exits": 16, "character": 60, "input": 60, "goal": 25, "obs": 200}
"""One more than the largest whole number in an input of a prediction; of a pixel it is 256."""


class Case(NamedTuple):
    """A computation on one shape."""

    name: str
    """What is computed."""
    shape: str
    """On how much."""
    make: Callable[[], tuple[Callable[..., Any], tuple[Any, ...]]]
    """Gives the function and its arguments; of a program the arguments are none."""
    kind: str = "function"
    """`function`, `program`, or `control`: known to come out wrong in some version of JAX; of a
    `model`, whose many operations take long one by one, a single shape is computed eagerly."""

    @property
    def label(self) -> str:
        """Name and shape."""
        return f"{self.name}, {self.shape}"

    @property
    def eager(self) -> bool:
        """Whether it is computed eagerly as well."""
        return self.kind != "model" or self.shape == "7"


def cases() -> list[Case]:
    """All of them; making the list computes nothing."""
    parts = (controls, models, operations, chapter1, chapter2, chapter3, chapter5, chapter6)
    return [case for part in (*parts, chapter7, chapter8, programs) for case in part()]


def _normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _bytes(*shape: int, below: int = 256) -> np.ndarray:
    return np.random.default_rng(1).integers(0, below, shape, np.uint8)


def _each(
    name: str, sizes: Sequence[int], make: Callable[[int], tuple[Any, ...]]
) -> Iterator[Case]:
    """A case for each size; `make` gives the function, then its arguments."""
    for size in sizes:

        def pair(size: int = size) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            function, *args = make(size)
            return function, tuple(args)

        yield Case(name, f"{size:,}", pair)


def _slopes(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function's result, and the gradients by all arguments of a sum of its numbers.

    Each number of the result has a weight of its own in the sum, so that no two errors cancel.
    """

    def both(*args: Any) -> Any:
        result, back = jax.vjp(function, *args)
        g = jax.tree.map(
            lambda a: jnp.cos(jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape), result
        )
        return result, back(g)

    return both


def controls() -> Iterator[Case]:
    """Patterns that are known to be wrong, and JAX's own functions that are compiled in one."""

    def pattern(name: str, shape: str, function: Callable[..., Any], *args: Any) -> Case:
        return Case(f"control: {name}", shape, lambda: (function, args), "control")

    half = _normal(5, 60, 60)
    symmetric = half + half.transpose(0, 2, 1)

    def sandwich(e: jax.Array) -> jax.Array:
        return jnp.sum((e @ jnp.full_like(e, 0.3)) * e, -1)

    def squares(m: jax.Array, rows: jax.Array) -> jax.Array:
        return jax.vmap(lambda q: jnp.sum((m @ q) ** 2))(rows)

    yield pattern("A, product times its operand", "5 x 60 x 60", sandwich, symmetric)
    yield pattern("B, mapped matrix-vector products", f"{LARGE:,}", squares, _normal(3, 3),
                  _normal(LARGE, 3, seed=1))  # fmt: skip
    seven = (3, 1, 2, 2, 8, 8, 8)

    def high_rank(x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.sum(x * y, axis=3)

    pair = _normal(*seven), _normal(*seven, seed=1)
    yield pattern(
        "C, sum of a product over seven axes", "3 x 1 x 2 x 2 x 8 x 8 x 8", high_rank, *pair
    )

    def spread(x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.sum(x[..., None, None, None, None, None] * y, axis=2)

    pair = _normal(5, 4, 6), _normal(5, 4, 6, 3, 3, 3, 3, 3, seed=1)
    yield pattern("D, the same over eight axes", "5 x 4 x 6 and 3 to the fifth", spread, *pair)
    jitted = {
        "jnp.var": functools.partial(jnp.var, axis=-1),
        "jnp.linalg.norm": functools.partial(jnp.linalg.norm, axis=-1),
        "jax.nn.softmax": jax.nn.softmax,
        "jax.nn.log_softmax": jax.nn.log_softmax,
        "jax.nn.logsumexp": functools.partial(jax.nn.logsumexp, axis=-1),
        "jnp.mean": functools.partial(jnp.mean, axis=0),
        "jnp.cumsum": functools.partial(jnp.cumsum, axis=-1),
        "jnp.einsum": lambda x: jnp.einsum("bi,bj->bij", x, x),
    }
    for name, function in jitted.items():
        yield from _each(f"jax: {name}", ROWS, lambda n, f=function: (f, _normal(n, 10)))


def models() -> Iterator[Case]:
    """Each model's loss, update, test and predictions, by every recipe."""
    for task in zoo.tasks():
        for number, (recipe, config) in enumerate(task.recipes.items()):
            whole = HEAVY.get(task.name, BATCHES)
            few = whole if number == 0 else whole[1:3]
            named = {"loss without a key": few, "update": few, "test": whole[1:3:2]}
            if getattr(config, "feedback", "") == "expected":
                del named["test"]  # it is tested on nothing
            named |= {f"prediction {name}": whole[1:3:2] for name in task.predictions(config)}
            for name, sizes in named.items():
                for size in sizes:
                    make = functools.partial(_of_model, task, config, size, name)
                    yield Case(f"{task.name} {recipe}: {name}", f"{size:,}", make, "model")


def _of_model(task: Task, config: Any, size: int, what: str) -> Any:
    if "batch_size" in {field.name for field in dataclasses.fields(config)}:
        config = dataclasses.replace(config, batch_size=size)
    if what == "loss without a key":
        params = task.model.init(keys.derive(0, "weights"), config)
        gradient = jax.value_and_grad(task.model.loss, has_aux=True)
        return gradient, (params, task.model.example(config, size))
    data = task.random(config, size)
    state = task.begin(config, task.random(config, max(size, getattr(config, "batch_size", 1))))
    if what == "test":
        weights, loss = task.weights(state), task.losses(config, 10)[1]
        kept = [weights["stats"]] if "stats" in weights else []
        return loss, (weights["params"], _test_batch(task, config, data), None, *kept)
    step = fit.make_step(
        task.losses(config, 10)[0], task.optimizer(config, 100), task.average(config)
    )
    if what == "update":
        batch = task.prepare(config, data)
        state, _ = device.jit(step)(state, batch)  # so that no solver's averages are all 0
        return step, (state, batch)
    prediction = task.predictions(config)[what.removeprefix("prediction ")]
    inputs, rng = {}, np.random.default_rng(0)
    for name, spec in prediction.inputs.items():
        shape = (size, *spec.shape)
        whole = np.issubdtype(spec.dtype, np.integer)
        drawn = rng.integers(0, NAMED.get(name, 256), shape) if whole else rng.normal(size=shape)
        inputs[name] = drawn.astype(spec.dtype)
    if "goal" in inputs:
        inputs["goal"] %= config.rows * config.columns
    return prediction.function, (task.weights(state), inputs)


def _test_batch(task: Task, config: Any, data: fit.Batch) -> fit.Batch:
    size, rng = len(jax.tree.leaves(data)[0]), np.random.default_rng(2)
    if task.name == "ch05_lstm":
        ids = rng.integers(0, config.vocabulary, (size, 129)).astype(np.int32)
        weight = (rng.random((size, 128)) < 0.9).astype(np.float32)
        return {"input": ids[:, :-1], "target": ids[:, 1:], "weight": weight}
    given = task.prepare(config, data)
    if task.name == "ch03_mnist_ae_rbm/rbm":
        if config.units == "softmax":
            return given | {"target": np.roll(data["rating"], 1, 1)}
        held, negative = rng.integers(0, config.visible, (2, size, 99), np.int32)
        return given | {"held": held[:, 0], "negative": negative}
    return given


def operations() -> Iterator[Case]:
    """`zoo.common`: the networks' operations, the solvers, keys."""
    forms = {
        "3 x 3 on 3 colours": ((12, 12, 3), (3, 3, 3, 8), {"padding": 1}),
        "3 x 3": ((12, 12, 8), (3, 3, 8, 16), {"padding": 1}),
        "5 x 5 on a small map": ((6, 6, 8), (5, 5, 8, 16), {"padding": 1}),
        "stride 2": ((12, 12, 8), (3, 3, 8, 16), {"padding": 1, "stride": 2}),
        "dilation 2": ((12, 12, 8), (3, 3, 8, 16), {"dilation": 2}),
    }
    for name, (shape, kernel, options) in forms.items():
        conv = _slopes(functools.partial(ops.conv2d, **options))
        yield from _each(
            f"ops.conv2d and gradients, {name}",
            BATCHES,
            lambda n, f=conv, s=shape, k=kernel: (f, _normal(n, *s), _normal(*k, seed=1)),
        )
    one_dimension = _slopes(functools.partial(ops.conv1d, padding=2))
    yield from _each(
        "ops.conv1d and gradients",
        BATCHES,
        lambda n: (one_dimension, _normal(n, 33, 8), _normal(5, 8, 16, seed=1)),
    )
    yield from _each(
        "ops.conv2d and gradients, many images",
        (LARGE,),
        lambda n: (_slopes(ops.conv2d), _normal(n, 3, 3, 2), _normal(2, 2, 2, 3, seed=1)),
    )
    for window, stride in ((2, None), (3, 2)):
        pool = _slopes(functools.partial(ops.max_pool2d, window=window, stride=stride))
        yield from _each(
            f"ops.max_pool2d and gradient, window {window}, stride {stride or window}",
            ROWS,
            lambda n, f=pool: (f, _normal(n, 5, 5, 4 if n < LARGE else 1)),
        )
    drop = _slopes(lambda x: ops.dropout(jax.random.key(1), x, 0.3))
    yield from _each("ops.dropout and gradient", ROWS, lambda n: (drop, _normal(n, 33)))

    def batch_norm(training: bool) -> Callable[..., Any]:
        def function(scale: Any, bias: Any, x: Any) -> Any:
            stats = {"mean": 0.1 * scale, "var": 1.0 + scale**2}
            return ops.batch_norm({"scale": scale, "bias": bias}, stats, x, training=training)

        return _slopes(function)

    for training in (True, False):
        yield from _each(
            f"ops.batch_norm and gradients, training {training}",
            ROWS,
            lambda n, t=training: (
                batch_norm(t),
                _normal(9),
                _normal(9, seed=1),
                3 + _normal(n, 9),
            ),
        )
        yield from _each(
            f"ops.batch_norm of maps and gradients, training {training}",
            BATCHES,
            lambda n, t=training: (
                *(batch_norm(t), _normal(9), _normal(9, seed=1)),
                3 + _normal(n, 17, 17, 9),
            ),
        )
    rules = {
        "Gorgonia's RMSProp": solvers.rmsprop(1e-3, l2=1e-4, clip=1.0),
        "Gorgonia's Adam": solvers.adam(1e-3, batch=10, doubled=True),
        "AdamW": optax.adamw(1e-3),
        "spheres": speedrun.on_spheres(),
    }
    for name, rule in rules.items():

        def update(grads: Any, params: Any, rule: Any = rule) -> Any:
            updates, state = rule.update(grads, rule.init(params), params)
            return rule.update(updates, state, params)

        yield from _each(
            f"solver, two updates: {name}",
            ROWS,
            lambda n, f=update: (f, {"a": _normal(n, 3)}, {"a": _normal(n, 3, seed=1)}),
        )
    yield from _each(
        "keys.of_content",
        ROWS,
        lambda n: (
            lambda a: jax.random.key_data(keys.of_content(jax.random.key(0), a)),
            _bytes(n, 40),
        ),
    )
    yield from _each("fit.finite", ROWS, lambda n: (fit.finite, {"a": _normal(n, 3)}))


def chapter1() -> Iterator[Case]:
    """The book's programs."""
    given = {
        "add": (examples.add, 2.0 * np.float32(1), np.float32(2.5)),
        "matmul": (examples.matmul, examples.WEIGHTS, examples.INPUT),
        "affine": (examples.affine, examples.WEIGHTS, examples.INPUT, examples.BIAS),
        "gonum": (examples.gonum, examples.GONUM_A, examples.GONUM_B),
    }
    for name, (function, *args) in given.items():
        yield Case(f"ch01 {name}", "the book's", lambda f=function, a=tuple(args): (f, a))


def chapter2() -> Iterator[Case]:
    """Activations, descent, the race of solvers."""
    names = ("step", "linear", "relu", "leaky_relu", "prelu", "sigmoid", "tanh", "swish", "gelu")
    for name in (*names, "tanh_misprinted"):
        function = getattr(activations, name)
        yield from _each(
            f"ch02 {name} and derivative",
            (97, LARGE),
            lambda n, f=function: (lambda x: (f(x), activations.derivative(f, x)), _normal(n)),
        )
    softmax = _slopes(activations.softmax)
    yield from _each("ch02 softmax and gradient", ROWS, lambda n: (softmax, _normal(n, 10)))
    costs = jax.vmap(descent.line_loss, (0, None, None))
    yield from _each(
        "ch02 costs of lines",
        (*ROWS, 120 * 100),
        lambda n: (costs, _normal(n, 2), *descent.noisy_line(jax.random.key(0), 64)),
    )
    yield from _each(
        "ch02 descent by batches",
        (1, 32, 256),
        lambda n: (
            functools.partial(descent.batch_descent, rate=0.05, batch_size=n, epochs=2),
            *(jax.random.key(1), np.array([-0.8, 0.8], np.float32)),
            descent.noisy_line(jax.random.key(0)),
        ),
    )
    yield from _each("ch02 sse", ROWS, lambda n: (jax.vmap(descent.sse), _normal(n)))
    for name, problem in racing.PROBLEMS.items():
        size = len(problem.start)
        both = jax.vmap(jax.value_and_grad(problem.function))
        yield from _each(
            f"ch02 {name} and gradient",
            (*ROWS, 160 * 160),
            lambda n, f=both, s=size: (f, _normal(n, s)),
        )
    yield from _each(
        "ch02 race of solvers, 20 steps",
        (1, 7, 21),
        lambda n: (
            functools.partial(racing.race, racing.PROBLEMS, steps=20),
            np.logspace(-5, -3.5, n, dtype=np.float32),
        ),
    )
    for recipe, config in first.RECIPES.items():
        params = jax.tree.map(np.float32, program.start(config))
        short = dataclasses.replace(config, steps=50)
        yield from _each(
            f"ch02 program {recipe}, 50 steps",
            (4, 97, LARGE),
            lambda n, p=params, c=short: (
                functools.partial(program.scan_steps, config=c),
                *(p, first.example(c, n)),
            ),
        )


def chapter3() -> Iterator[Case]:
    """The feed-forward net's and the autoencoder's parts, the Boltzmann machine's."""
    for pixels in ("unit", "book"):
        scale = functools.partial(digits.scale_pixels, pixels=pixels)
        yield from _each(
            f"ch03 scale_pixels {pixels}", ROWS, lambda n, f=scale: (f, _bytes(n, 7, 7))
        )
        unscale = functools.partial(digits.unscale_pixels, pixels=pixels)
        yield from _each(
            f"ch03 unscale_pixels {pixels}", BATCHES, lambda n, f=unscale: (f, _normal(n, 784))
        )
    yield from _each(
        "ch03 feedforward augment",
        ROWS,
        lambda n: (
            lambda x: feedforward_model.augment(jax.random.key(2), x, shift=2),
            _bytes(n, 28, 28) if n < LARGE else _bytes(n, 5, 5),
        ),
    )
    yield from _each(
        "ch03 autoencoder corrupt",
        ROWS,
        lambda n: (lambda x: autoencoder.corrupt(jax.random.key(2), x, 0.5), _normal(n, 28)),
    )
    for units, values in (("softmax", 5), ("binary", 1)):
        config = rbm.Config(units=units, visible=60, hidden=20, scale=0.3)

        def machine(n: int, config: Any = config, values: int = values) -> tuple[Any, ...]:
            params = rbm.init(jax.random.key(3), config)
            params = jax.tree.map(lambda a: a + 0.1, params)  # so that no bias is 0
            rating = _bytes(n, config.visible, below=values + 1)
            return params, *rbm.encode(jnp.asarray(rating), values), rating

        def parts(params: Any, visible: Any, rated: Any, rating: Any, values: int = values) -> Any:
            hidden = rbm.hidden_given_visible(params, visible, rated)
            energy = jax.value_and_grad(lambda p: rbm.free_energy(p, visible, rated).sum())(params)
            return {
                "encoded": rbm.encode(rating, values),
                "free energy": rbm.free_energy(params, visible, rated),
                "slopes": energy,
                "hidden": hidden,
                "visible": rbm.visible_given_hidden(params, hidden, rated),
                "mean field": rbm.gibbs(params, hidden, rated, None, 3),
                "chain": rbm.gibbs(params, hidden, rated, jax.random.key(4), 2),
                "expected": rbm.apply(params, rating),
                "biases": rbm_training.log_frequencies(rating, values, 5.0),
            }

        yield from _each(
            f"ch03 Boltzmann machine, {units} units",
            BATCHES,
            lambda n, f=parts, m=machine: (f, *m(n)),
        )
        yield from _each(
            f"ch03 Boltzmann machine, {units} units, many examples",
            (LARGE,),
            lambda n, f=parts, m=machine: (lambda *a: [f(*a)[k] for k in FEW], *m(n)),
        )


def _text(n: int, steps: int = 17) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 60, (n, steps)).astype(np.int32)


def _network(**changes: Any) -> lstm.Params:
    return lstm.init(jax.random.key(6), lstm.Config(embedding=12, hidden=24, **changes))


def chapter5() -> Iterator[Case]:
    """Cells, writing, the look inside, the copy task."""
    for name, cell in cells.CELLS.items():
        params = cell.init(jax.random.key(5), 12, 24)

        def unroll(params: Any, xs: Any, cell: Any = cell) -> Any:
            return cell.unroll(params, cell.start(params, xs.shape[1]), xs)

        yield from _each(
            f"ch05 {name}, all steps and gradients",
            BATCHES,
            lambda n, f=unroll, p=params: (_slopes(f), p, _normal(19, n, 12)),
        )

        def step(params: Any, x: Any, cell: Any = cell) -> Any:
            return cell.step(params, cell.start(params, len(x)), x)

        yield from _each(
            f"ch05 {name}, a step", (LARGE,), lambda n, f=step, p=params: (f, p, _normal(n, 12))
        )
    for cell in ("lstm", "gru", "rnn", "mingru"):
        yield from _each(
            f"ch05 gradient_norms, {cell}",
            (1, 7, 32) if cell != "mingru" else (7,),
            lambda n, c=cell: (probes.gradient_norms, _network(cell=c, layers=2), _text(n, 101)),
        )
    for cell in ("lstm", "gru"):
        yield from _each(
            f"ch05 gate_activations, {cell}",
            (1, 7, 60),
            lambda n, c=cell: (probes.gate_activations, _network(cell=c), _text(n)[:, 0]),
        )
    yield from _each(
        "ch05 score", BATCHES,
        lambda n: (
            functools.partial(lstm.score, steps=16), _network(),
            {"input": _text(n, 32), "target": _text(n, 32) // 2,
             "weight": np.ones((n, 32), np.float32)},
        ),
    )  # fmt: skip
    yield from _each(
        "ch05 apply_expected",
        BATCHES,
        lambda n: (lambda p: lstm.apply_expected(p, n, 30), _network()),
    )
    for name, options in (("plain", {}), ("top 5", {"top_k": 5}), ("top 0.9", {"top_p": 0.9})):
        cut = functools.partial(generate.filter_logits, temperature=0.7, **options)
        yield from _each(f"ch05 filter_logits, {name}", ROWS, lambda n, f=cut: (f, _normal(n, 68)))
        write = functools.partial(generate.write, begin=0, count=32, **options)
        yield from _each(
            f"ch05 write, {name}",
            (1, 7, 97),
            lambda n, f=write: (
                lambda p, ids: f(p, lstm.init_state(p, n), ids, jax.random.key(8)),
                *(_network(), _text(n)[:, 0]),
            ),
        )
    yield from _each(
        "ch05 surprise",
        ROWS,
        lambda n: (lstm.surprise, _normal(n, 3, 68) if n < LARGE else _normal(n, 1, 10),
                   _text(n, 3 if n < LARGE else 1) % 10),
    )  # fmt: skip
    yield from _each(
        "ch05 lookup and gradient",
        ROWS,
        lambda n: (_slopes(lambda table: lstm.lookup(table, _text(n, 2))), _normal(60, 5)),
    )

    def copy(params: Any, key: Any, n: int) -> Any:
        batch = copy_task.draw(key, n, 20)
        return jax.value_and_grad(copy_task.loss, has_aux=True)(params, batch)

    yield from _each(
        "ch05 copy task",
        BATCHES,
        lambda n: (
            functools.partial(copy, n=n),
            *(copy_task.init(jax.random.key(1), 16, 40), jax.random.key(2)),
        ),
    )


def chapter6() -> Iterator[Case]:
    """What is done to images, the sliding product, whitening."""
    key = jax.random.key(9)
    yield from _each(
        "ch06 augment",
        BATCHES,
        lambda n: (lambda x: cnn.augment(key, x), _bytes(n, 32, 32, 3)),
    )
    yield from _each(
        "ch06 augment, small images",
        (LARGE,),
        lambda n: (lambda x: cnn.augment(key, x, shift=1), _bytes(n, 3, 3, 3)),
    )
    for pixels in ("standard", "book"):
        scale = functools.partial(cnn.scale_pixels, pixels=pixels)
        yield from _each(
            f"ch06 scale_pixels {pixels}",
            ROWS,
            lambda n, f=scale: (f, _bytes(n, 32, 32, 3) if n < LARGE else _bytes(n, 2, 2, 3)),
        )
    yield from _each(
        "ch06 correlate and pool", (7, 32, 97),
        lambda n: (lambda a, k: (cnn.correlate(a, k), cnn.pool(a)), _normal(n, n), _normal(3, 3)),
    )  # fmt: skip

    def whiten(x: Any, patch: int) -> Any:
        kernel = images.whitening_kernel(x, patch)
        filters = kernel.reshape(3 * patch**2, -1)
        return filters @ filters.T  # an eigenvector has no sign of its own

    for patch in (2, 3):
        yield from _each(
            f"ch06 whitening, patches of {patch}",
            (7, 97, 128),
            lambda n, p=patch: (functools.partial(whiten, patch=p), _normal(n, 32, 32, 3)),
        )
    for which in ("plain", "flips", "flips and shifts"):
        views = functools.partial(images.views, which=which)
        yield from _each(f"ch06 views {which}", BATCHES, lambda n, f=views: (f, _bytes(n, 9, 9, 3)))
    yield from _each(
        "ch06 alternating_flips", ROWS,
        lambda n: (images.alternating_flips, _bytes(n, below=2), np.int32(3)),
    )  # fmt: skip
    # The speed run's update at the sizes of a whole batch, with few filters.
    for task in zoo.tasks("ch06_cnn")[1:]:
        narrow = dataclasses.replace(task.recipes["speedrun-cpu"], width=8)
        for size in (97, 128, 500):
            make = functools.partial(_of_model, task, narrow, size, "update")
            yield Case("ch06_cnn/speedrun width 8: update", f"{size:,}", make, "model")


def chapter7() -> Iterator[Case]:
    """Mazes, the environment, memory, agents and planner."""
    for method in ("depth-first", "prim"):
        options = {"rows": 5, "columns": 7, "method": method, "extra": 0.2, "grid": "cells"}

        def all_of(seeds: Any, options: Any = options) -> Any:
            made = maze.many(seeds, **options)
            tiled = jax.vmap(maze.tiles)(made)
            modern = jax.vmap(lambda m: environment.modern(m, 100, True))(tiled)
            values = jax.vmap(lambda p: environment.optimal_values(p, 0.99, 60))(modern)
            best = jax.vmap(maze.best_moves)(tiled, values)
            return {
                "mazes": made,
                "tiles": tiled,
                "distance": jax.vmap(maze.solve)(made),
                "held out": jax.vmap(planners.held_out)(made.exits),
                "values": values,
                "walk": jax.vmap(environment.walk)(tiled, best),
                "image": planner.image(made.exits, made.goal),
            }

        yield from _each(
            f"ch07 mazes, ways, value iteration, {method}",
            (1, 7, 97),
            lambda n, f=all_of: (f, np.arange(n, dtype=np.int32)),
        )
        small = options | {"rows": 2, "columns": 2}
        yield from _each(
            f"ch07 many mazes and their ways, {method}",
            (LARGE,),
            lambda n, o=small: (
                lambda s: (m := maze.many(s, **o), jax.vmap(maze.solve)(m)),
                np.arange(n, dtype=np.int32),
            ),
        )

    def moves(key: Any, seeds: Any) -> Any:
        made = maze.many(seeds, rows=3, columns=4)
        params = jax.vmap(lambda m: environment.modern(m, 50, True))(made)

        def one(params: Any, key: Any) -> Any:
            def step(state: Any, key: Any) -> Any:
                move_key, key = jax.random.split(key)
                action = jax.random.randint(key, (), 0, 4)
                out = environment.step_and_reset(move_key, state, action, params)
                return out[1], out

            first_key, key = jax.random.split(key)
            start = environment.reset(first_key, params)[1]
            return jax.lax.scan(step, start, jax.random.split(key, 40))[1]

        return jax.vmap(one)(params, jax.random.split(key, len(seeds)))

    yield from _each(
        "ch07 walks of the environment",
        (1, 7, 97),
        lambda n: (moves, jax.random.key(0), np.arange(n, dtype=np.int32)),
    )

    def ring(items: Any) -> Any:
        memory = replay.remember_all(replay.empty(2 * len(items), items[0]), items)
        return memory, replay.sample_runs(jax.random.key(1), memory, 32, 3)

    yield from _each("ch07 replay", (7, 97, 128, LARGE), lambda n: (ring, _normal(n, 3)))
    yield from _each(
        "ch07 coordinates, choices, targets",
        ROWS,
        lambda n: (
            _choices,
            np.arange(n, dtype=np.int32) % 230,
            *(_normal(n, 4), _normal(n, 4, seed=1), _bytes(n, 4, below=2) > 0),
            np.random.default_rng(0).random((n, 2)).astype(np.float32),
        ),
    )
    yield from _each(
        "ch07 n_step_return",
        ROWS,
        lambda n: (
            jax.vmap(lambda r, e: agent.n_step_return(r, e & (r > 0), e, 0.99)),
            *(_normal(n, 5), _bytes(n, 5, below=4) == 0),
        ),
    )
    for recipe, config in agent.RECIPES.items():
        config = dataclasses.replace(config, rows=3, columns=4, capacity=64, n_step=1)

        def steps(numbers: Any, config: Any = config) -> Any:
            state, params = agents.make_agents(config, len(numbers))

            def one(state: Any, _: Any) -> Any:
                return jax.vmap(functools.partial(agents.step, config=config))(state, params=params)

            state, info = jax.lax.scan(one, state, length=40)
            return info, state._replace(key=None), _greedy(config, state.params, params)

        yield from _each(
            f"ch07 agents, 40 steps and the greedy policy, {recipe}",
            (1, 7, 97),
            lambda n, f=steps: (f, np.arange(n)),
        )
    for recipe, config in planner.RECIPES.items():
        config = dataclasses.replace(config, columns=4, rows=4, rounds=12, capacity=256)

        def learn(count: Any, config: Any = config) -> Any:
            config = dataclasses.replace(config, walkers=len(count), batch_size=len(count))
            state = planners.init(jax.random.key(0), config)
            for _ in range(2):
                state, metrics = planners.step(state, config)
            mazes = maze.many(count, rows=4, columns=4, grid="cells")
            return metrics, state._replace(key=None), planners.solve(state.params, mazes, 12)

        yield from _each(
            f"ch07 planner, two steps and walks, {recipe}",
            (1, 7, 97),
            lambda n, f=learn: (f, np.arange(n, dtype=np.int32)),
        )


def _greedy(config: Any, nets: Any, params: Any) -> Any:
    return jax.vmap(functools.partial(agents.greedy, config))(nets, params)


def _choices(site: Any, values: Any, others: Any, legal: Any, chance: Any) -> Any:
    def target(values: Any, others: Any, legal: Any) -> Any:
        return agent.td_target(jnp.float32(-1), jnp.float32(0.9), values, others, legal)

    return {
        "coordinates": agent.coordinates(site, 21, 11),
        "actions": jax.vmap(agent.choose, (0, 0, 0, None))(values, legal, chance, jnp.float32(0.3)),
        "targets": jax.vmap(target)(values, others, legal),
        "picked": agent.pick(values, site % 4),
    }


def chapter8() -> Iterator[Case]:
    """Likelihoods, bounds, codes."""
    key = jax.random.key(10)

    def densities(x: Any, mean: Any, logvar: Any) -> Any:
        return {
            "codes": vae.reparameterise(key, mean, logvar),
            "bernoulli": vae.bernoulli(x, jax.nn.sigmoid(mean)),
            "squared": vae.squared(x, jax.nn.sigmoid(mean)),
            "normal": vae.log_normal(x, mean, logvar),
            "kl": vae.kl_to_standard_normal(mean, logvar),
        }

    for width in (8, 50):
        yield from _each(
            f"ch08 densities of {width} numbers, and gradients",
            ROWS,
            lambda n, w=width: (
                _slopes(densities),
                *(_normal(n, w), _normal(n, w, seed=1), 0.3 * _normal(n, w, seed=2)),
            ),
        )
    config = vae.Config(hidden=(40, 30), latents=6)

    for observation in ("bernoulli", "squared"):
        yield from _each(
            f"ch08 bounds, {observation}",
            BATCHES,
            lambda n, o=observation: (
                functools.partial(_bounds, observation=getattr(vae, o)),
                *(vae.init(key, config), np.abs(np.tanh(_normal(n, 784)))),
            ),
        )
    yield from _each(
        "ch08 samples",
        ROWS,
        lambda n: (lambda p: vae.sample(p, key, n)[:, ::40], vae.init(key, config)),
    )
    yield from _each(
        "ch08 log_discretised_logistic and gradients", ROWS,
        lambda n: (
            lambda x, a, s: _slopes(lambda a, s: conv_vae.log_discretised_logistic(x, a, s))(a, s),
            _bytes(n, 4, 3) / np.float32(255), _normal(n, 4, 3), 0.3 * _normal(3) - 2,
        ),
    )  # fmt: skip
    yield from _each(
        "ch08 channels_to_pixels and gradient",
        ROWS,
        lambda n: (_slopes(conv_vae.channels_to_pixels), _normal(n, 2, 2, 8)),
    )


def _bounds(params: Any, x: Any, observation: Any) -> Any:
    one, two, three = jax.random.split(jax.random.key(10), 3)
    return {
        "elbo": vae.elbo(params, x, one, observation=observation),
        "without a key": vae.elbo(params, x, observation=observation),
        "iwae": vae.iwae_bound(params, x, two, 20, observation=observation),
        "likelihood": vae.log_likelihood(params, x, three, 60, 20, observation=observation),
    }


def programs() -> Iterator[Case]:
    """What compiles by itself or computes eagerly, as commands, figures and users call it."""
    found: dict[str, Callable[[], Any]] = {
        "ch01 values and gradients of a graph": _graph,
        "ch02 landscapes": lambda: [
            racing.landscape(p) for p in racing.PROBLEMS.values() if p.window is not None
        ],
        "ch05 text": _written,
        "ch05 text of the book's network": lambda: _characters(
            generate.expected_text(_network(), _vocabulary())
        ),
        "ch05 likeliest words": lambda: [
            p for _, p in generate.next_words(_network(), _vocabulary(), "abc", beam=8, longest=4)
        ][:5],
        "ch05 evaluation, carried and reset": lambda: (
            probes.carried_loss(_network(), _text(1, 5001)[0]),
            probes.reset_loss(_network(), _text(1, 5001)[0], 64),
        ),
        "ch07 held-out mazes": lambda: planners.held_out_mazes(planner.Config(), 250),
    }
    for recipe, config in first.RECIPES.items():
        found[f"ch02 the whole program, {recipe}"] = functools.partial(
            program.run_program, config, first.example(config)
        )
    for recipe, config in agent.RECIPES.items():
        small = dataclasses.replace(config, rows=3, columns=3, epochs=1, epoch_steps=300)
        found[f"ch07 training, {recipe}"] = functools.partial(_run, "ch07_dqn", small)
    short = planner.Config(rows=4, columns=4, rounds=12, epochs=1, epoch_steps=5)
    found["ch07 training, planner"] = functools.partial(_run, "ch07_dqn/planner", short)
    for task in zoo.tasks():
        name = f"published {task.name}: predictions"
        found[name] = functools.partial(_published, task, eager=False)
        found[f"{name}, one operation after the other"] = functools.partial(
            _published, task, eager=True
        )
    found["published ch08_vae: bounds and likelihoods"] = _likelihoods
    found["published ch08_vae: pictures"] = _pictures
    found["published ch03_mnist_ae_rbm/autoencoder: denoising"] = _denoised
    found["published ch08_vae: codes of 32,769 images"] = _codes
    for name, run in found.items():
        yield Case(name, "program", lambda f=run: (f, ()), "program")


def _graph() -> Any:
    task = trained.find("ch03_mnist_ae_rbm")
    config = dataclasses.replace(task.recipes["modern"], batch_size=7)
    params = task.model.init(jax.random.key(0), config)
    graph = ch01_graphs.trace(
        lambda p, b: task.model.loss(p, b)[0], params, task.model.example(config, 7), gradients=True
    )
    arrays = [array for node in graph.nodes for array in node.arrays]
    return [np.asarray(a) for array in arrays for a in array[2:] if a is not None]


def _vocabulary() -> Any:
    return text.make_vocabulary(string.printable[:65])


def _characters(written: str) -> np.ndarray:
    return np.array([ord(character) for character in written])


def _written() -> Any:
    model = trained.published("ch05_lstm")
    vocabulary = text.Vocabulary(model.classes)
    return _characters("".join(generate.stream(model.params, vocabulary, "ROMEO:", 200)))


def _run(name: str, config: Any) -> Any:
    state = trained.find(name).train(config, {})
    return jax.tree.map(
        lambda a: jax.random.key_data(a) if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a,
        state,
    )


def _published(task: Task, eager: bool) -> Any:
    try:
        model = trained.published(task)
    except ValueError:  # none is published
        return {}
    found = {}
    for name in model.predictions:
        function, (_, inputs) = _of_model(task, model.config, 7, f"prediction {name}")
        call = function if eager else functools.partial(fit.predict, function, batch_size=64)
        found[name] = call(model.weights, jax.tree.map(jnp.asarray, inputs))
    return found


def _likelihoods() -> Any:
    model, shown = trained.published("ch08_vae"), _bytes(7, 28, 28)
    return {
        "bounds": likelihood.bounds(model, shown),
        "active": likelihood.active_units(model, shown),
        "likelihood": likelihood.log_likelihoods(model, shown, 100),
    }


def _pictures() -> Any:
    model, shown = trained.published("ch08_vae"), _bytes(2, 28, 28)
    config, params = model.config, model.params
    return {
        "samples": latent.sample(config, params, keys.derive(0, "samples"), 100),
        "walk": latent.interpolate(config, params, shown),
        "turns": latent.traverse(config, params, shown[0], np.arange(3)),
    }


def _codes() -> Any:
    model = trained.published("ch08_vae")
    return latent.encode(model.config, model.params, _bytes(LARGE, 28, 28))


def _denoised() -> Any:
    config = dataclasses.replace(autoencoder.RECIPES["modern"], noise=0.5)
    params = autoencoder.init(jax.random.key(0), config)
    return autoencoders.denoise(config, params, _bytes(9, 28, 28), jax.random.key(1))
