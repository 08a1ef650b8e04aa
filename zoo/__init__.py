"""A functional model zoo in JAX after the book "Hands-On Deep Learning with Go".

`zoo.load("runs/...")` and `zoo.published("ch08_vae")` give a trained model; `zoo.tasks()` lists
every model. A chapter is imported by itself: `from zoo import ch06_cnn as cnn`.
"""

import importlib
import pkgutil
import signal
import sys
from typing import Any

__version__ = "0.1.0"
__all__ = ["load", "published", "tasks"]

_module = sys.orig_argv[sys.orig_argv.index("-m") + 1 :][:1] if "-m" in sys.orig_argv else []
if _module and _module[0].partition(".")[0] == __name__:
    # A command of zoo: until `cli.main` takes over, Ctrl-C ends it without a word. As an exception
    # it would come out of whatever is being imported, and some libraries swallow it there.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def tasks(chapter: str = "") -> tuple[Any, ...]:
    """The `Task` of every model, or of a chapter's; imports the chapters."""
    names = sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name.startswith("ch"))
    chosen = [name for name in names if chapter in ("", name)]
    modules = [importlib.import_module(f"{__name__}.{name}") for name in chosen]
    return tuple(task for module in modules for task in getattr(module, "TASKS", ()))


def __getattr__(name: str) -> Any:
    # Lazily: `import zoo` loads neither JAX nor a chapter.
    if name in ("load", "published"):
        return getattr(importlib.import_module("zoo.common.trained"), name)
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")
