"""Chapter 1: the graph of any JAX function; `from zoo import ch01_graphs as graphs`."""

from zoo.ch01_graphs.dot import to_dot
from zoo.ch01_graphs.draw import render, save
from zoo.ch01_graphs.graph import Array, Cluster, Cost, Edge, Graph, Node, cost, fold
from zoo.ch01_graphs.tracing import trace
