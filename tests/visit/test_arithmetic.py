"""What the page's JavaScript computes against JAX, for 100 inputs of each room."""

import base64
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch02_basic_nn import model as first
from zoo.ch02_basic_nn import solvers
from zoo.ch03_mnist_ae_rbm.rbm import model as rbm
from zoo.ch05_lstm import generate
from zoo.ch05_lstm import model as lstm
from zoo.ch07_dqn import environment
from zoo.ch07_dqn import maze as mazes
from zoo.ch07_dqn.planner import model as planner
from zoo.common import trained
from zoo.visit import build

CALL = """async ([name, inputs]) => {
  const { load, array } = await import("./onnx.js");
  const kinds = { float32: Float32Array, uint8: Uint8Array, int32: Int32Array };
  const given = {};
  for (const [key, shape, kind, content] of inputs) {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    given[key] = array(shape, new kinds[kind](bytes.buffer));
  }
  const out = {};
  for (const [key, { shape, data }] of Object.entries((await load(name))(given))) {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    let text = "";
    for (let i = 0; i < bytes.length; i += 8192) {
      text += String.fromCharCode(...bytes.subarray(i, i + 8192));
    }
    out[key] = [shape, btoa(text)];
  }
  return out;
}"""


def run(script, name, **inputs):
    """A model in the browser: float32 arrays by name."""
    given = [
        [key, list(a.shape), a.dtype.name, base64.b64encode(a.tobytes()).decode()]
        for key, a in inputs.items()
    ]
    found = script.evaluate(CALL, [name, given])
    return {
        key: np.frombuffer(base64.b64decode(content), np.float32).reshape(shape)
        for key, (shape, content) in found.items()
    }


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("name", "model", "prediction"),
    [
        ("classify", "ch03_mnist_ae_rbm", "classify"),
        ("encode", "ch03_mnist_ae_rbm/autoencoder", "encode"),
        ("decode", "ch03_mnist_ae_rbm/autoencoder", "decode"),
        ("vae-encode", "ch08_vae", "encode"),
        ("vae-decode", "ch08_vae", "decode"),
    ],
)
def test_digits_and_codes_agree_with_jax(script, rng, name, model, prediction):
    found = trained.published(model)
    (key, spec), *_ = found.predictions[prediction].inputs.items()
    if spec.dtype == np.uint8:
        noise = rng.integers(-40, 40, (100, 28, 28))
        given = np.clip(build.digits()[np.arange(100) % 10] + noise, 0, 255).astype(np.uint8)
    else:
        given = 2 * rng.normal(size=(100, *spec.shape)).astype(np.float32)
    expected = found.predict(prediction, **{key: given})
    actual = run(script, name, **{key: given})
    for output, array in expected.items():
        np.testing.assert_allclose(actual[output], array, atol=1e-4)


def test_pictures_agree_with_jax(script, rng):
    found = trained.published("ch06_cnn")
    images = rng.integers(0, 256, (100, 32, 32, 3), np.uint8)
    actual = run(script, "picture", image=images)
    expected = build.picture(found).function(found.weights, {"image": images})
    np.testing.assert_allclose(actual["probabilities"], expected["probabilities"], atol=1e-4)
    np.testing.assert_allclose(actual["maps"], expected["maps"], atol=1e-4)
    plain = found.predict(image=images)["probabilities"]
    np.testing.assert_allclose(actual["probabilities"], plain, atol=1e-4)


def test_a_text_read_character_by_character_agrees_with_jax(script, rng):
    found = trained.published("ch05_lstm")
    ids = rng.integers(3, len(found.classes), (1, 100), np.int32)
    expected = lstm.apply(found.params, jnp.asarray(ids)).logits[0]
    state, actual = np.zeros((1, 512), np.float32), []
    for n in ids[0]:
        out = run(script, "next", character=np.array([n], np.int32), state=state)
        state = np.ascontiguousarray(out["state_out"])
        actual.append(out["logits"][0])
    np.testing.assert_allclose(np.stack(actual), expected, atol=1e-4)


@pytest.mark.parametrize(("temperature", "k"), [(1.0, 0), (0.3, 5), (1.4, 1)])
def test_the_distribution_of_characters_agrees_with_jax(script, rng, temperature, k):
    logits = 4 * rng.normal(size=(100, 68)).astype(np.float32)
    expected = jax.nn.softmax(generate.filter_logits(jnp.asarray(logits), temperature, k))
    actual = script.evaluate(
        """async ([rows, temperature, k]) => {
          const { filtered, softmax } = await import("./rooms/text.js");
          return rows.map((logits) => softmax(filtered(logits, temperature, k)));
        }""",
        [logits.tolist(), temperature, k],
    )
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_characters_are_drawn_by_their_probabilities(script):
    counts = script.evaluate(
        """async () => {
          const { draw } = await import("./rooms/text.js"), { random } = await import("./ui.js");
          const next = random(1), counts = [0, 0, 0];
          for (let n = 0; n < 30000; n++) counts[draw([0.2, 0.5, 0.3], next())]++;
          return counts;
        }"""
    )
    np.testing.assert_allclose(np.array(counts) / 30_000, [0.2, 0.5, 0.3], atol=0.01)


def cells(count, rows=5, columns=5):
    keys = jax.random.split(jax.random.key(1), count)
    return jax.vmap(lambda key: mazes.generate(key, rows, columns, grid="cells"))(keys)


def test_the_planner_agrees_with_jax_in_every_round(script, built):
    params = trained.published("ch07_dqn/planner").params
    maze = cells(100)
    given = json.loads(built[1]["data.json"])["planner"]
    actual = script.evaluate(
        """async ([layer, all, goal]) => {
          const { plan } = await import("./maze.js");
          return all.map((exits) => [...plan(layer, exits, goal, 5, 5, 26)].map((q) => [...q]));
        }""",
        [given, np.asarray(maze.exits).reshape(100, 25).tolist(), 24],
    )
    actual = np.array(actual).reshape(100, 26, 5, 5, 4)
    image = planner.image(maze.exits, maze.goal)
    for rounds in (1, 2, 9, 26):
        expected = planner.apply(params, image, rounds=rounds)
        np.testing.assert_allclose(actual[:, rounds - 1], expected, atol=1e-4)


def test_the_table_learns_the_values_of_value_iteration(script):
    maze = jax.tree.map(lambda a: a[0], cells(1))
    rewards = jnp.full(25, -1.0)
    params = environment.Params(
        maze, rewards, jnp.float32(-1.0), *environment.starts(maze, True), jnp.int32(200)
    )
    expected = np.asarray(environment.optimal_values(params, 0.95))
    actual = script.evaluate(
        """async (exits) => {
          const { learner } = await import("./maze.js"), { random } = await import("./ui.js");
          const table = learner(exits, 24, 5, random(3));
          for (let n = 0; n < 200000; n++) table.step();
          return [...table.q];
        }""",
        np.asarray(maze.exits).ravel().tolist(),
    )
    legal = np.array(mazes.legal(maze.exits.reshape(-1)))
    legal[24] = False  # an episode ends there
    np.testing.assert_allclose(np.array(actual).reshape(25, 4)[legal], expected[legal], atol=1e-3)


def test_mazes_of_the_page_are_perfect(script):
    made = script.evaluate(
        """async () => {
          const { depthFirst, distances } = await import("./maze.js");
          const { random } = await import("./ui.js"), next = random(5);
          return Array.from({ length: 100 }, () => {
            const exits = depthFirst(next, 5, 8);
            return [[...exits], distances(exits, 39, 8)];
          });
        }"""
    )
    for exits, steps in made:
        exits = np.array(exits, np.uint8)
        assert np.unpackbits(exits).sum() == 2 * 39  # a tree of 40 cells, each way from both sides
        maze = mazes.Maze(jnp.asarray(exits.reshape(5, 8)), jnp.int32(0), jnp.int32(39))
        np.testing.assert_array_equal(mazes.solve(maze).ravel(), steps)


def test_the_boltzmann_machine_agrees_with_jax(script, rng):
    movies, hidden = 12, 6
    ratings = np.maximum(rng.integers(-5, 6, (100, movies)), 0).astype(np.uint8)
    ratings[:, 0] = np.maximum(ratings[:, 0], 1)
    params = {
        "kernel": rng.normal(size=(5, movies, hidden)),
        "visible_bias": rng.normal(size=(5, movies)),
        "hidden_bias": rng.normal(size=hidden),
        "rated_kernel": rng.normal(size=(movies, hidden)),
    }
    params = {name: jnp.asarray(a, jnp.float32) for name, a in params.items()}
    names = {"kernel": "kernel", "visible": "visible_bias", "biases": "hidden_bias"}
    names["rated"] = "rated_kernel"
    users = [[[m, int(r)] for m, r in enumerate(row) if r] for row in ratings]
    flat = {name: np.asarray(params[own]).ravel().tolist() for name, own in names.items()}
    found = script.evaluate(
        """async ([flat, users, movies, hidden]) => {
          const { expected, gradient } = await import("./rbm.js");
          const params = { movies, hidden };
          for (const name of Object.keys(flat)) params[name] = Float64Array.from(flat[name]);
          const slopes = gradient(params, users);
          return {
            expected: users.map((list) => [...expected(params, list)]),
            slopes: Object.fromEntries(Object.entries(slopes).map(([k, v]) => [k, [...v]])),
          };
        }""",
        [flat, users, movies, hidden],
    )
    np.testing.assert_allclose(found["expected"], rbm.apply(params, ratings), atol=1e-4)
    slopes = jax.grad(lambda p: rbm.loss(p, {"rating": jnp.asarray(ratings)})[0])(params)
    for name, own in names.items():
        actual = np.array(found["slopes"][name])
        np.testing.assert_allclose(actual, np.ravel(slopes[own]), atol=1e-4, err_msg=name)


def test_training_on_the_sample_learns(script, built):
    sample = json.loads(built[1]["data.json"])["movies"]["ratings"]
    before, after = script.evaluate(
        """async (packed) => {
          const { begin, create, epoch, expected } = await import("./rbm.js");
          const { bytes, random } = await import("./ui.js"), next = random(1);
          const rows = new Uint16Array(bytes(packed).buffer), lists = new Map(), tested = [];
          for (let i = 0; i < rows.length; i += 3) {
            if (!lists.has(rows[i])) lists.set(rows[i], []);
            const own = lists.get(rows[i]);
            if (i % 30 === 0 && own.length) tested.push([own, rows[i + 1] - 1, rows[i + 2]]);
            else own.push([rows[i + 1] - 1, rows[i + 2]]);
          }
          const users = [...lists.values()], params = create(250, 20, next), velocity = {};
          const error = () => {
            const errors = tested.map(([own, m, rating]) => expected(params, own)[m] - rating);
            return Math.sqrt(errors.reduce((sum, e) => sum + e * e, 0) / errors.length);
          };
          begin(params, users);
          const before = error();
          for (let n = 0; n < 20; n++) epoch(params, users, velocity, next, { rate: 0.05 });
          return [before, error()];
        }""",
        sample,
    )
    assert after < before - 0.1


@pytest.mark.parametrize("rate", [0.1, 1.0])
def test_the_solvers_agree_with_optax(script, rate):
    steps = 60  # then RMSProp jumps about the minimum, and every rounding grows
    with jax.enable_x64(True):  # as JavaScript
        rates = jnp.array([rate])
        race = solvers.race({"x": solvers.PROBLEMS["first network"]}, rates, steps)["x"]
    found = script.evaluate(
        """async ([names, weights, inputs, labels, rate, steps]) => {
          const { cost, slope, step } = await import("./solvers.js");
          return names.map((name) => {
            let now = weights;
            const state = {}, costs = [], path = [];
            for (let n = 0; n <= steps; n++) {
              path.push(now);
              costs.push(cost("mean-square", now, inputs, labels));
              now = step(name, state, now, slope("mean-square", now, inputs, labels), rate);
            }
            return [path, costs];
          });
        }""",
        [list(solvers.SOLVERS), first.GO_WEIGHTS, first.INPUTS, first.LABELS, rate, steps],
    )
    for n, name in enumerate(solvers.SOLVERS):
        path, costs = found[n]
        np.testing.assert_allclose(path, race.paths[n, 0], atol=1e-4, err_msg=name)
        np.testing.assert_allclose(costs, race.costs[n, 0], atol=1e-4, err_msg=name)


@pytest.mark.parametrize("cost", ["mean-square", "cross-entropy"])
def test_the_slopes_of_the_first_network_agree_with_jax(script, rng, cost):
    weights = rng.normal(size=(100, 3)).astype(np.float32)
    batch = first.example(first.Config())

    def loss(w):
        return first.loss({"output": {"kernel": w[:, None]}}, batch, cost=cost)[0]

    values, slopes = jax.vmap(jax.value_and_grad(loss))(jnp.asarray(weights))
    found = script.evaluate(
        """async ([kind, rows, inputs, labels]) => {
          const { cost, slope } = await import("./solvers.js");
          return rows.map((w) => [cost(kind, w, inputs, labels), slope(kind, w, inputs, labels)]);
        }""",
        [cost, weights.tolist(), first.INPUTS, first.LABELS],
    )
    np.testing.assert_allclose([one for one, _ in found], values, atol=1e-4)
    np.testing.assert_allclose([one for _, one in found], slopes, atol=1e-4)


@pytest.mark.parametrize("number", range(len(build.FUNCTIONS)))
def test_graphs_agree_with_jax_in_value_and_derivatives(script, rng, built, number):
    _, function, inputs = build.FUNCTIONS[number]
    program = json.loads(built[1]["data.json"])["functions"][number]
    low, high = (np.array([ends[n] for ends in inputs.values()]) for n in (1, 2))
    points = rng.uniform(low, high, (100, len(inputs))).astype(np.float32)
    found = script.evaluate(
        """async ([program, points]) => {
          const { compute } = await import("./graph.js");
          return points.map((point) => {
            const { values, slopes } = compute(program, point);
            return [values.at(-1), slopes.slice(0, point.length)];
          });
        }""",
        [program, points.tolist()],
    )
    slopes = jax.vmap(jax.grad(function, tuple(range(len(inputs)))))(*points.T)
    expected = jax.vmap(function)(*points.T)
    np.testing.assert_allclose([one for one, _ in found], expected, rtol=1e-4, atol=1e-4)
    actual = np.array([one for _, one in found])
    np.testing.assert_allclose(actual, np.stack(slopes, 1), rtol=1e-4, atol=1e-4)
