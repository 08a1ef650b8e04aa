"""ONNX files against JAX, by onnxruntime: every prediction of every model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.ch07_dqn import maze as mazes
from zoo.ch10_deploy import commands, onnx
from zoo.common import checkpoint, cli, trained
from zoo.common.task import Prediction

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


def model(task):
    """The published model, or the weights before training."""
    config = next(iter(task.recipes.values()))
    try:
        found = trained.published(task)
    except checkpoint.CheckpointError:
        data = task.random(config, getattr(config, "batch_size", 1))
        return config, task.weights(task.start(config, data))
    return found.config, found.weights


def inputs(task, prediction, size=3):
    """Random inputs; mazes must be mazes, and ratings lie between 0 and 5."""
    given = onnx.example(prediction, size)
    if "exits" in given:
        keys = jax.random.split(jax.random.key(0), size)
        rows, columns = prediction.inputs["exits"].shape
        made = jax.vmap(lambda key: mazes.generate(key, rows, columns, grid="cells"))(keys)
        given |= {"exits": np.asarray(made.exits), "goal": np.asarray(made.goal)}
    if "rating" in given:
        given["rating"] %= 6
    return given


@pytest.mark.parametrize("task", zoo.tasks(), ids=lambda task: task.name)
def test_every_prediction_agrees_with_jax(task):
    config, weights = model(task)
    for name, prediction in task.predictions(config).items():
        content = onnx.convert(prediction, weights, name)
        given = inputs(task, prediction)
        assert onnx.difference(content, prediction, weights, given) < 1e-5, name
        one = {n: array[:1] for n, array in given.items()}
        assert onnx.difference(content, prediction, weights, one) < 1e-5, name
        assert content == onnx.convert(prediction, weights, name)


def agree(function, **arrays):
    specs = {n: jax.ShapeDtypeStruct(a.shape[1:], a.dtype) for n, a in arrays.items()}
    prediction = Prediction("", specs, lambda weights, given: {"y": function(**given)})
    content = onnx.convert(prediction, {})
    assert onnx.difference(content, prediction, {}, arrays) < 1e-5


def running(rows):
    def add(total, row):
        return total + row, total * row

    return jax.lax.scan(add, jnp.zeros_like(rows[0]), rows, reverse=True)[1]


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jax.nn.softplus(x),
        lambda x: jax.nn.log_softmax(x, axis=1),
        lambda x: jnp.square(x) + x**3 - x**-2,
        lambda x: jnp.expm1(x) * jax.lax.rsqrt(1.0 + x * x),
        lambda x: jnp.where(x > 0, x, 0.5 * x)[:, ::-1],
        lambda x: x.argmax(-1),
        lambda x: jnp.where(x.sum() > 0, x, -x) + x.max(),
        lambda x: jnp.einsum("bij,bkj->bik", x, x),
        lambda x: jnp.einsum("bij,ij->bj", x, normal(4, 6)),
        lambda x: jnp.tensordot(normal(4, 2), x, ((0,), (1,))).swapaxes(0, 1),
        lambda x: running(x.swapaxes(0, 1)).swapaxes(0, 1),
        lambda x: jnp.concatenate([x, jnp.ones_like(x)], 1).reshape(-1, 12),
        lambda x: jnp.take(x, jnp.array([2, 0]), axis=1),
        lambda x: jnp.clip(x, -0.5, 0.5) != 0.5,
    ],
)
def test_operations_agree_with_jax(function):
    agree(function, x=normal(3, 4, 6))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 2])
def test_convolutions_and_their_transposes_agree_with_jax(stride, padding):
    x, kernel = normal(2, 7, 9, 3), normal(3, 3, 3, 4)
    layout = ("NHWC", "HWIO", "NHWC")

    def strided(x):
        pads = [(padding, 0)] * 2
        return jax.lax.conv_general_dilated(
            x, kernel, (stride,) * 2, pads, dimension_numbers=layout
        )

    def spread(x):
        pads, dilation = [(padding, padding - 1)] * 2, (stride,) * 2
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), pads, lhs_dilation=dilation, dimension_numbers=layout
        )

    agree(strided, x=x)
    agree(spread, x=x)


def test_weights_that_float16_holds_are_stored_so():
    def function(weights, given):
        return {"y": given["x"] @ weights["kernel"]}

    prediction = Prediction("", {"x": jax.ShapeDtypeStruct((64,), np.float32)}, function)
    kernel = normal(64, 64)
    halves = kernel.astype(np.float16).astype(np.float32)
    exact = len(onnx.convert(prediction, {"kernel": kernel}))
    small = len(onnx.convert(prediction, {"kernel": halves}))
    assert exact - small == pytest.approx(2 * 64 * 64, abs=100)
    given = {"x": normal(3, 64)}
    content = onnx.convert(prediction, {"kernel": halves})
    assert onnx.difference(content, prediction, {"kernel": halves}, given) < 1e-5


def test_narrow_floats_are_refused():
    one = {"x": jax.ShapeDtypeStruct((4,), np.float32)}
    narrow = Prediction(
        "", one, lambda w, given: {"y": given["x"].astype(jnp.bfloat16).astype(jnp.float32)}
    )
    with pytest.raises(onnx.OnnxError, match="bfloat16"):
        onnx.convert(narrow, {})


def test_what_cannot_be_written_is_named():
    prediction = Prediction(
        "",
        {"x": jax.ShapeDtypeStruct((4,), np.float32)},
        lambda weights, given: {"y": jnp.sort(given["x"])},
    )
    with pytest.raises(onnx.OnnxError, match="primitive sort"):
        onnx.convert(prediction, {})


def test_the_command_writes_the_files_and_compares_them(tmp_path, capsys):
    which = cli.TrainedModel(trained.PUBLISHED, "cpu")
    commands.export("ch07_dqn", which, str(tmp_path / "dqn"), "onnx")
    printed = capsys.readouterr().out
    assert "values.onnx" in printed
    assert "of JAX" in printed
    session = onnxruntime.InferenceSession((tmp_path / "dqn" / "values.onnx").read_bytes())
    (values,) = session.run(None, {"obs": np.array([3], np.int32)})
    expected = trained.published("ch07_dqn").predict(obs=np.array([3]))["values"]
    np.testing.assert_allclose(values, expected, atol=1e-4)
