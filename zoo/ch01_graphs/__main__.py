"""Chapter 1: the graph of any JAX function, with shapes, values and gradients.

`add`, `matmul` and `affine` are the book's programs. `draw zoo.ch06_cnn:loss` draws any function of
the zoo, `--grad` its gradient, and `--fold 1` keeps the picture small.
"""

from zoo.ch01_graphs.commands import add, affine, draw, matmul
from zoo.common import cli

if __name__ == "__main__":
    cli.main(__doc__, {"add": add, "matmul": matmul, "affine": affine, "draw": draw})
