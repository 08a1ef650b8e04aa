"""Chapter 9: a pipeline from data to predictions, with versions and provenance, by DVC and git.

Begin with `init DIR`, change into it, `put FILES` (or `put --data real`), `run`. Change data by
`put`, the model by `swap`, and only what depends on it runs again. `why` shows what made the
predictions, `reproduce` makes them again, `models` and `report` show the history.
"""

from zoo.ch09_pipeline.commands import COMMANDS
from zoo.common import cli

if __name__ == "__main__":
    cli.main(__doc__, COMMANDS)
