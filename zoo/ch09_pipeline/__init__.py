"""Chapter 9: a data pipeline with versions and provenance, by git and DVC (extra `pipeline`)."""

from zoo.ch09_pipeline.shards import block_bounds, bounds, merge

__all__ = ["block_bounds", "bounds", "merge"]
