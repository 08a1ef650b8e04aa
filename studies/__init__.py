"""Studies that a reader runs once, outside of the package: `python -m studies.NAME --help`."""

import zoo  # noqa: F401  # before JAX, which it makes quiet
