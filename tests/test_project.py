"""What the project's files claim: versions, commands, notebooks, imports, no private paths."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import jupytext
import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from zoo.common import device

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# The machines of those who write zoo, and the numbers of their issues, mean nothing to a reader.
# `project#12` is another project's issue, which anyone can look up; "#333" in quotes is a colour.
PRIVATE = re.compile(
    r"""(?<![\w.~/-])/(?:work|root|opt|home/\w+|Users/\w+)/\w  # absolute path of one machine
    |(?<![\w&"'(/-])\#\d{1,4}\b                                # issue number
    |\b[Ii]ssues?\s+\#?\d""",
    re.VERBOSE,
)


LOCKS = {path.stem: path for path in sorted((ROOT / "requirements").glob("*.txt"))}
HERE = "{}.{}".format(*sys.version_info)


def _requirements(texts: list[str], python: str) -> list[Requirement]:
    """Those of the texts that hold on this machine for a version of Python."""
    python_version = {"python_version": python, "python_full_version": f"{python}.0"}
    found = [Requirement(text) for text in texts]
    return [r for r in found if r.marker is None or r.marker.evaluate(python_version)]


def _declared(python: str) -> list[Requirement]:
    extras = PROJECT["optional-dependencies"]
    inside = ("test", "gym", "notebooks", "pipeline", "serve")
    texts = [*PROJECT["dependencies"], *(text for name in inside for text in extras[name])]
    return [r for r in _requirements(texts, python) if r.name != PROJECT["name"]]


def _pins(python: str) -> dict[str, Version]:
    """The versions in the lock of a version of Python that hold on this machine."""
    lines = LOCKS[python].read_text(encoding="utf-8").splitlines()
    texts = [line for line in lines if line.strip() and not line.startswith("#")]
    pins = {}
    for pin in _requirements(texts, python):
        (specifier,) = pin.specifier
        assert specifier.operator == "=="
        pins[pin.name] = Version(specifier.version)
    return pins


def _tracked() -> list[Path]:
    git = ["git", "-C", str(ROOT), "ls-files", "-z"]
    try:
        listed = subprocess.run(git, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout, or no git: which files are tracked is not known")
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file()]


def _targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", makefile, re.M))


def _is_bounded(requirement: Requirement) -> bool:
    return {">=", "<"} <= {s.operator for s in requirement.specifier} <= {">=", "<", "!="}


@pytest.mark.parametrize("python", LOCKS)
def test_every_dependency_has_a_floor_and_a_ceiling_and_the_lock_lies_between(python):
    pins = _pins(python)
    for requirement in _declared(python):
        assert _is_bounded(requirement), requirement
        assert pins[requirement.name] in requirement.specifier


def test_extras_outside_the_lock_have_floors_and_ceilings_too():
    for extra in ("cuda", "compile", "bench"):
        assert all(map(_is_bounded, map(Requirement, PROJECT["optional-dependencies"][extra])))


@pytest.mark.parametrize("python", LOCKS)
def test_cuda_extra_takes_the_same_versions_of_jax_as_the_rest(python):
    specifiers = {r.name: r.specifier for r in _declared(python)}
    (cuda,) = _requirements(PROJECT["optional-dependencies"]["cuda"], python)
    assert cuda.name == "jax"
    assert cuda.specifier == specifiers["jax"] == specifiers["jaxlib"]


def test_locked_versions_of_jax_are_those_that_zoo_is_tested_with_and_compute_rightly():
    first, end = map(Version, device.TESTED)
    locked = [_pins(python)["jaxlib"] for python in LOCKS]
    assert locked == [_pins(python)["jax"] for python in LOCKS]
    assert min(locked) == first
    assert max(locked) < end
    assert not any(Version("0.10.2") <= v < Version("0.11.2") for v in locked)
    if HERE in LOCKS:
        assert version("jaxlib") == str(_pins(HERE)["jaxlib"]), "make test installs the lock"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", ".ci/run"])
def test_make_commands_in_the_texts_are_targets_of_the_makefile(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    commands = set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.M))
    assert commands
    assert commands <= _targets()


def test_targets_of_the_makefile_are_in_its_help():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert set(re.findall(r"^([a-z-]+):.*## ", makefile, re.M)) == _targets()


def test_importing_the_chapters_loads_nothing_heavy():
    chapters = ", ".join(f"zoo.{path.parent.name}" for path in ROOT.glob("zoo/ch*/__init__.py"))
    program = f"import sys, {chapters}; print(*{{n.partition('.')[0] for n in sys.modules}})"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout.split()
    assert "jax" in loaded
    heavy = {"matplotlib", "sklearn", "PIL", "pooch", "tyro", "orbax", "flax", "pygraphviz"}
    assert not heavy & set(loaded)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_equal_their_python_twins_and_have_no_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    twin = jupytext.read(path.with_suffix(".py"))

    def cells(notebook):
        return [(c.cell_type, c.source, c.metadata.get("nbmake")) for c in notebook.cells]

    assert cells(notebook) == cells(twin), "make notebooks brings them into line"
    assert "\nzoo.set_xla_flags()" in next(c.source for c in twin.cells if c.cell_type == "code")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)


def test_every_notebook_has_a_twin_and_the_other_way_round():
    assert NOTEBOOKS
    twins = sorted((ROOT / "notebooks").glob("*.py"))
    assert [p.stem for p in NOTEBOOKS] == [p.stem for p in twins]


@pytest.mark.parametrize(
    ("text", "private"),
    [
        ("see /" + "work/main/zoo", True),
        ("in /" + "home/anna/zoo", True),
        ("as in " + "#12", True),
        ("Issue " + "7 asks", True),
        ("jax#12868", False),
        ('BLUE = "#0072B2"', False),
        ("runs/work/main", False),
        ("https://example.org/home/anna/x", False),
    ],
)
def test_private_paths_and_issue_numbers_are_told_from_the_rest(text, private):
    assert bool(PRIVATE.search(text)) == private


def test_tracked_texts_name_no_machine_and_no_issue():
    found = []
    for path in _tracked():
        if path.name == "LICENSE":
            continue
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{n}: {t}"
            for n, t in enumerate(lines, 1)
            if PRIVATE.search(t)
        ]
    assert not found, "\n".join(found)
