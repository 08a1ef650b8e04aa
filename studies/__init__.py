"""Studies that a reader runs once, outside of the package: `python -m studies.NAME --help`."""
