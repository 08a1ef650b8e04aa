"""The page on which the published models run in a visitor's browser: `python -m zoo visit`."""
