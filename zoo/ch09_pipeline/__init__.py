"""Chapter 9: a data pipeline with versions and provenance, by git and DVC (extra `pipeline`)."""
