"""The files of the page: what lies in `page/`, the models, what the rooms show, the code they cite.

Nothing in them depends on the machine or the time: the same zoo gives the same bytes.
"""

import base64
import html
import importlib
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch01_graphs import examples
from zoo.ch02_basic_nn import descent, solvers
from zoo.ch02_basic_nn import model as first
from zoo.ch06_cnn.cnn import model as cnn
from zoo.ch10_deploy import onnx
from zoo.common import device, ops, trained
from zoo.common.data import mnist, movielens
from zoo.common.task import Arrays, Prediction, Weights
from zoo.common.trained import Trained
from zoo.visit import functions

PAGE = Path(__file__).parent / "page"
LIMIT = 8_000_000
"""The page is smaller, in bytes."""

DIGITS = (142, 148, 189, 6, 231, 202, 123, 279, 44, 295)
"""A clear one of each kind, 0 to 9, among the sample's test digits."""

# What each room cites: a function of the zoo, and the published model that runs, if there is one.
CITED: dict[str, tuple[Any, str | None]] = {
    "digits": ("ch03_mnist_ae_rbm.feedforward.model:apply", "ch03_mnist_ae_rbm"),
    "code": ("ch03_mnist_ae_rbm.autoencoder.model:encode", "ch03_mnist_ae_rbm/autoencoder"),
    "plane": ("ch08_vae.vae.model:decode", "ch08_vae"),
    "maze": ("ch07_dqn.planner.model:apply", "ch07_dqn/planner"),
    "learner": ("ch07_dqn.environment:optimal_values", None),
    "text": ("ch05_lstm.model:apply", "ch05_lstm"),
    "pictures": ("ch06_cnn.cnn.model:apply", "ch06_cnn"),
    "movies": ("ch03_mnist_ae_rbm.rbm.model:loss", None),
    "network": ("ch02_basic_nn.solvers:race", None),
    "graph": ("ch01_graphs.tracing:trace", None),
}


def build() -> dict[str, bytes]:
    """The files by their path within the page's folder.

    Raises:
      CheckpointError: a published model is missing or damaged.
    """
    made = {
        path.relative_to(PAGE).as_posix(): path.read_bytes()
        for path in sorted(PAGE.rglob("*"))
        if path.is_file()
    }
    made |= {f"models/{name}.onnx": content for name, content in models().items()}
    made["data.json"] = json.dumps(data(), separators=(",", ":"), sort_keys=True).encode()
    return made | citations()


def models() -> dict[str, bytes]:
    """The ONNX files of the rooms by name."""
    chosen = {
        "classify": ("ch03_mnist_ae_rbm", "classify"),
        "encode": ("ch03_mnist_ae_rbm/autoencoder", "encode"),
        "decode": ("ch03_mnist_ae_rbm/autoencoder", "decode"),
        "vae-encode": ("ch08_vae", "encode"),
        "vae-decode": ("ch08_vae", "decode"),
        "next": ("ch05_lstm", "next"),
    }
    made = {}
    for name, (model, prediction) in chosen.items():
        found = trained.published(model)
        made[name] = onnx.convert(found.predictions[prediction], found.weights, name)
    found = trained.published("ch06_cnn")
    made["picture"] = onnx.convert(picture(found), found.weights, "picture")
    return made


def picture(found: Trained) -> Prediction:
    """The classes of an image, and the maps behind the first convolution and its ReLU."""
    classify = found.predictions["classify"]

    def look(weights: Weights, inputs: Arrays) -> Arrays:
        layer, moments = weights["params"]["conv"][0], weights["stats"][0]
        x = cnn.scale_pixels(inputs["image"], found.config.pixels)
        x = ops.max_pool2d(ops.conv2d(x, layer["kernel"], padding=1))
        maps = jax.nn.relu(ops.batch_norm(layer, moments, x, training=False)[0])
        return {**classify.function(weights, inputs), "maps": maps}

    return Prediction("classes and first maps", classify.inputs, look)


@device.in_float32
def data() -> dict[str, Any]:
    """What the rooms show: digits, characters, classes, the planner, ratings, functions."""
    planner = trained.published("ch07_dqn/planner")
    layer = jax.tree.map(lambda a: np.asarray(a).ravel().tolist(), planner.params["round"])
    return {
        "digits": [_base64(image) for image in digits()],
        "characters": trained.published("ch05_lstm").classes,
        "classes": trained.published("ch06_cnn").classes,
        "planner": {**layer, "rounds": planner.config.rounds},
        "movies": ratings(),
        "network": {
            "inputs": first.INPUTS,
            "labels": first.LABELS,
            "weights": first.GO_WEIGHTS,
            "solvers": list(solvers.SOLVERS),
        },
        "functions": [
            {"title": title, **functions.program(function, inputs)}
            for title, function, inputs in FUNCTIONS
        ],
        "cards": {
            room: card(trained.published(model))
            for room, (_, model) in CITED.items()
            if model is not None
        },
    }


def digits() -> np.ndarray:
    """A digit of each kind from the built-in sample, uint8 [10, 28, 28].

    They were drawn with 8x8 pixels; more contrast makes strokes of them again.
    """
    images = mnist.load("sample").test["image"][list(DIGITS)].astype(np.int64)
    return np.clip((images - 60) * 255 // 130, 0, 255).astype(np.uint8)


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def ratings() -> dict[str, Any]:
    """The built-in sample of ratings: titles, genres, and triples of user, movie and rating."""
    found = movielens.load("ml-100k", "sample", split="all")
    order = np.lexsort((found.train["item"], found.train["user"]))
    triples = np.stack([found.train[name][order] for name in ("user", "item", "rating")], 1)
    titles = [[movie, found.titles[movie], *found.genres[movie]] for movie in sorted(found.titles)]
    return {"titles": titles, "ratings": _base64(triples.astype("<u2"))}


def card(found: Trained) -> dict[str, Any]:
    """What a caption says of a published model."""
    kept = ("parameters", "command", "seed", "machine", "trained", "licence", "sha256")
    about = {name: found.about[name] for name in kept}
    tested = {k: v for k, v in found.about["metrics"].items() if isinstance(v, float)}
    return about | {"data": found.about["data"]["description"], "metrics": tested}


def _chain(w1: jax.Array, w2: jax.Array, i: jax.Array) -> jax.Array:
    return descent.chain(w1, w2, i, 0.2)  # type: ignore[arg-type]  # traced numbers


def _rosenbrock(x: jax.Array, y: jax.Array) -> jax.Array:
    return (1.0 - x) ** 2 + 100.0 * (y - x**2) ** 2


def _unit(w: jax.Array, x: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.tanh(w * x + b)


FUNCTIONS: tuple[tuple[str, Callable[..., jax.Array], dict[str, tuple[float, ...]]], ...] = (
    ("a + b", examples.add, {"a": (1, -5, 5), "b": (2, -5, 5)}),
    (
        "a unit: tanh(w x + b)",
        _unit,
        {"w": (0.9, -3, 3), "x": (0.7, -3, 3), "b": (-0.4, -3, 3)},
    ),
    (
        "chapter 2's chain: (σ(w₂ σ(w₁ i)) − 0.2)²",
        _chain,
        {"w1": (0.8, -4, 4), "w2": (-1.5, -4, 4), "i": (1, -3, 3)},
    ),
    (
        "Rosenbrock: (1 − x)² + 100 (y − x²)²",
        _rosenbrock,
        {"x": (-1.2, -2, 2), "y": (1, -1, 3)},
    ),
)
"""Of the room of graphs: title, function, and for each input where it begins and its ends."""


def citations() -> dict[str, bytes]:
    """The cited source files as pages with numbered lines, and `cited.json`, which names them."""
    made, cited = {}, {}
    for room, (place, _) in CITED.items():
        module_name, name = place.split(":")
        module = importlib.import_module(f"zoo.{module_name}")
        path = f"code/{module_name.replace('.', '/')}.html"
        made[path] = _source_page(module)
        line = inspect.getsourcelines(getattr(module, name))[1]
        cited[room] = {"name": f"zoo.{module_name}.{name}", "link": f"{path}#L{line}"}
    made["cited.json"] = json.dumps(cited, separators=(",", ":"), sort_keys=True).encode()
    return made


def _source_page(module: ModuleType) -> bytes:
    lines = inspect.getsource(module).splitlines()
    rows = "\n".join(
        f'<li id="L{n}"><code>{html.escape(line)}</code></li>' for n, line in enumerate(lines, 1)
    )
    root = "../" * (module.__name__.count(".") - 1)
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{module.__name__}</title>\n"
        f'<link rel="icon" href="{root}../icon.svg">\n'
        f'<link rel="stylesheet" href="{root}../style.css">\n'
        f'<main class="source"><h1>{module.__name__}</h1>\n'
        f'<p><a href="{root}../index.html">Back to the zoo</a></p>\n<ol>\n{rows}\n</ol></main>\n'
    ).encode()
