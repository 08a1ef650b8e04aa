"""Everything in zoo is compiled by `device.jit`, whose options keep a CPU's numbers right."""

import ast
from pathlib import Path

import pytest

import zoo

PACKAGE = Path(zoo.__file__).parent
PLAIN = {PACKAGE / "common" / "device.py", PACKAGE / "canaries.py"}
"""What makes the options, and what shows how programs come out without them."""
FILES = sorted(PACKAGE.rglob("*.py"))
COMPILERS = {"jit", "pjit", "pmap"}
AT_THE_EDGE = {"device.jit", "device.compile"}


def compilers(tree):
    """The lines in which JAX's own compilers are named, by any import of them."""
    modules, names, lines = set(), set(), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            of_jax = [a for a in node.names if a.name.partition(".")[0] == "jax"]
            modules |= {(a.asname or a.name).partition(".")[0] for a in of_jax}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "jax":
            names |= {a.asname or a.name for a in node.names if a.name in COMPILERS}
            lines += [node.lineno for a in node.names if a.name in COMPILERS]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in COMPILERS:
            first = node.value
            while isinstance(first, ast.Attribute):
                first = first.value
            if isinstance(first, ast.Name) and first.id in modules:
                lines.append(node.lineno)
        elif isinstance(node, ast.Name) and node.id in names:
            lines.append(node.lineno)
    return sorted(set(lines))


def calls_at_import(tree):
    """The lines of calls of `device.jit` and `device.compile` that an import of the module makes.

    Decorators and defaults are evaluated then, bodies of functions are not.
    """
    found, left = [], [tree]
    while left:
        node = left.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            defaults = [default for default in node.args.kw_defaults if default is not None]
            left += [*getattr(node, "decorator_list", []), *node.args.defaults, *defaults]
            continue
        left += ast.iter_child_nodes(node)
        if isinstance(node, ast.Attribute) and ast.unparse(node) in AT_THE_EDGE:
            found.append(node.lineno)
    return sorted(found)


def test_nothing_in_zoo_is_compiled_without_the_options():
    for path in FILES:
        if path not in PLAIN:
            lines = compilers(ast.parse(path.read_text(encoding="utf-8")))
            assert not lines, f"{path}, lines {lines}: use device.jit or device.compile"


@pytest.mark.parametrize(
    "text",
    [
        "import jax\njax.jit(f)",
        "import functools, jax\n@functools.partial(jax.jit, static_argnums=0)\ndef f(x): pass",
        "import jax as j\nj.jit(f)",
        "from jax import jit",
        "from jax import jit as compiled\ncompiled(f)",
        "import jax.experimental.pjit\njax.experimental.pjit.pjit(f)",
        "import jax\ng = jax.pmap",
    ],
)
def test_every_way_to_name_a_compiler_is_seen(text):
    assert compilers(ast.parse(text))


def test_what_is_no_compiler_of_jax_is_not():
    assert not compilers(ast.parse("import jax\nfrom zoo.common import device\ndevice.jit(jax.f)"))


def test_an_import_compiles_nothing():
    """So it starts no backend: which device computes is chosen later."""
    for path in FILES:
        lines = calls_at_import(ast.parse(path.read_text(encoding="utf-8")))
        assert not lines, f"{path}, lines {lines}: compile within a function"


def test_calls_at_import_are_seen():
    for text in (
        "g = device.jit(f)",
        "@device.jit\ndef f(x): pass",
        "def f(g=device.jit(h)): pass",
    ):
        assert calls_at_import(ast.parse(text)) == [1]
    assert not calls_at_import(ast.parse("def f(x):\n    return device.jit(g)(x)"))
