"""A functional model zoo in JAX after *Hands-On Deep Learning with Go*: pure functions only."""
