"""A functional model zoo in JAX after the book "Hands-On Deep Learning with Go".

`zoo.load("runs/...")` and `zoo.published("ch08_vae")` give a trained model; `zoo.tasks()` lists
every model. A chapter is imported by itself: `from zoo import ch06_cnn as cnn`. In a program or
notebook of your own call `zoo.set_xla_flags()` before JAX computes for the first time: some
versions of JAX compute wrong numbers on a CPU without it, as `python -m zoo doctor` shows.
"""

import contextlib
import importlib
import os
import pkgutil
import signal
import sys
from typing import Any

__version__ = "0.1.0"
__all__ = ["load", "published", "set_xla_flags", "tasks"]

if sys.argv[:1] == ["-m"]:  # Python is looking for a command, `python -m zoo...`
    import importlib.metadata  # here, since a library's user needs none

    with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # importing JAX tells
        if importlib.metadata.version("jaxlib") == "0.10.1":
            # It prints an error for each program that it finds in its cache, and uses it all the
            # same: jax-ml/jax#38445. Read when JAX is imported; exceptions stay.
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until `cli.main` takes over, Ctrl-C ends it without a word; an exception would come out
        # of an import, where some libraries swallow it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def tasks(chapter: str = "") -> tuple[Any, ...]:
    """The `Task` of every model, or of a chapter's; imports the chapters."""
    names = sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name.startswith("ch"))
    chosen = [name for name in names if chapter in ("", name)]
    modules = [importlib.import_module(f"{__name__}.{name}") for name in chosen]
    return tuple(task for module in modules for task in getattr(module, "TASKS", ()))


# Lazily: `import zoo` loads neither JAX nor a chapter.
_ELSEWHERE = {"load": "trained", "published": "trained", "set_xla_flags": "device"}


def __getattr__(name: str) -> Any:
    if name in _ELSEWHERE:
        return getattr(importlib.import_module(f"zoo.common.{_ELSEWHERE[name]}"), name)
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")
