"""params.yaml: what a workspace's pipeline computes, read and checked, changed and written."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import yaml

from zoo.ch06_cnn import RECIPES, Config
from zoo.common import run
from zoo.common.data.cifar10 import CLASSES
from zoo.common.run import RunError
from zoo.common.settings import SettingError

FILE = "params.yaml"
_BOOK = RECIPES["book"]
VARIANTS = {
    "book": _BOOK,
    "nodropout": dataclasses.replace(_BOOK, dropout=0.0, dropout_dense=0.0),
    "modern": RECIPES["modern"],
}
"""The models that the pipeline can train: chapter 6's recipes and the book's second image."""
_HEADER = f"""\
# What the pipeline computes; `python -m zoo.ch09_pipeline run` follows it.
# model: recipe is one of {", ".join(VARIANTS)}; any other field of chapter 6's Config may follow.
# device: cpu gives the same bits each time; auto takes an accelerator if one is found.
"""


@dataclasses.dataclass(frozen=True)
class Params:
    """The content of params.yaml."""

    model: dict[str, Any]  # `recipe`, one of `VARIANTS`, and fields of Config that differ from it
    device: Literal["cpu", "auto"] = "cpu"  # what computes
    classes: tuple[str, ...] = CLASSES  # the name of each label

    @property
    def config(self) -> Config:
        """Chapter 6's configuration."""
        return _config(self.model)


def read(folder: Path) -> Params:
    """The parameters in a folder's params.yaml.

    Raises:
        RunError: it is missing or wrong; says what was found and what was expected.
    """
    path = folder / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RunError(f"{path} is no UTF-8: {error}") from error
    except FileNotFoundError as error:
        raise RunError(
            f"{folder} is no workspace: it has no {FILE}; make one by "
            "`python -m zoo.ch09_pipeline init DIR`, or name it by --workspace"
        ) from error
    return parse(text, str(path))


def parse(text: str, name: str = FILE) -> Params:
    """The parameters in a params.yaml's text; errors as in `read`."""
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: 5,000 digits
        raise RunError(f"{name} is no YAML: {' '.join(str(error).split())}") from error
    expected = {"model": dict, "device": str, "classes": list}
    if not isinstance(content, dict) or set(content) != set(expected):
        found = [*content] if isinstance(content, dict) else repr(content)[:60]
        raise RunError(f"{name} has {found}, expected {', '.join(expected)}")
    for field, kind in expected.items():
        if type(content[field]) is not kind:
            raise RunError(f"{name}: {field} is {content[field]!r}, expected a {kind.__name__}")
    if not all(isinstance(label, str) for label in content["classes"]):
        raise RunError(f"{name}: classes are {content['classes']}, expected a text for each label")
    if content["device"] not in ("cpu", "auto"):
        raise RunError(f"{name}: device is {content['device']!r}, expected cpu or auto")
    _config(content["model"], name)
    return Params(content["model"], content["device"], (*content["classes"],))


def write(folder: Path, params: Params) -> None:
    """Writes params.yaml, whole."""
    content = dataclasses.asdict(params) | {"classes": list(params.classes)}
    run.write(folder / FILE, _HEADER + yaml.safe_dump(content, sort_keys=False))


def _config(model: dict[str, Any], name: str = FILE) -> Config:
    fields = dict(model)
    recipe = fields.pop("recipe", None)
    if not isinstance(recipe, str) or recipe not in VARIANTS:
        raise RunError(f"{name}: recipe is {recipe!r}, expected one of {', '.join(VARIANTS)}")
    known = {field.name for field in dataclasses.fields(Config)}
    for field, value in fields.items():
        # The pipeline prepares the data itself.
        if field not in known - {"dataset", "split", "classes"}:
            raise RunError(f"{name}: the model has no setting {field!r} that can be changed here")
        if isinstance(value, list):  # YAML has no tuples
            fields[field] = tuple(value)
    try:
        return dataclasses.replace(VARIANTS[recipe], **fields)
    except SettingError as error:
        raise RunError(f"{name}: {error}") from error
