"""A functional model zoo in JAX: every chapter of *Hands-On Deep Learning with Go*, pure functions only."""
