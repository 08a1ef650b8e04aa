"""What a command sets for its own process, so that it works where people really run it.

Nothing here is done when zoo is imported: a notebook keeps its settings.
"""

import codecs
import errno
import io
import os
import signal
import sys
from pathlib import Path
from typing import Any

from zoo.common import device
from zoo.common.data import fetch

# A pipe that nobody reads any more, a terminal that was closed.
_GONE = (errno.EPIPE, errno.EIO)
_ASCII = {"█": "#", "·": ".", "±": "+-", "…": "...", "−": "-"}


def prepare() -> None:
    """Makes this process ready for a command, whatever it inherits."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:  # see `zoo/__init__.py`
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _find_home()
    device.set_xla_flags()
    # Notebooks hand theirs on to the commands that they start; pictures are drawn without any.
    os.environ["MPLBACKEND"] = "agg"
    if sys.stdout is sys.__stdout__:  # else a caller has put its own there
        sys.stdout = _patient(sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _patient(sys.stderr)


def _find_home() -> None:
    """Sets HOME to a folder among the temporary files where there is none.

    Containers run as users without one, and libraries look for it.
    """
    try:
        Path.home()
    except (RuntimeError, KeyError):
        os.environ["HOME"] = str(fetch.temporary())


class _Patient(io.FileIO):
    """A file descriptor for texts; what is written when nobody can read it any more is dropped.

    So `train | head` goes on to its end, and `chapters | head -1` is no error. Another failure, as
    a full disk, is raised, but only once: what is left is tried again when the process ends.
    """

    failed = False

    def write(self, content: Any) -> int:
        try:
            return len(content) if self.failed else super().write(content) or 0
        except OSError as error:
            self.failed = True
            if error.errno not in _GONE:
                raise
            return len(content)


def _patient(stream: Any) -> Any:
    """A stream like `stream` that drops what can't be read, and spells out what can't be encoded.

    Each line appears at once, in a log file as well.
    """
    if stream is None or not hasattr(stream, "fileno"):  # closed by the caller
        return stream
    codecs.register_error("zoo", _spell)
    errors = "zoo" if stream.errors in ("strict", "surrogateescape") else stream.errors
    stream.flush()
    if os.name == "nt":  # its consoles are no files
        stream.reconfigure(errors=errors, line_buffering=True)
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Patient(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors=errors,
        line_buffering=True,
        write_through=stream.write_through,
    )


def _spell(error: UnicodeError) -> tuple[str | bytes, int]:
    """A handler of encoding errors: characters that a terminal lacks, in ASCII."""
    assert isinstance(error, UnicodeEncodeError)
    found = error.object[error.start : error.end]
    if all(character in _ASCII for character in found):
        return "".join(_ASCII[character] for character in found), error.end
    return codecs.backslashreplace_errors(error)
