"""Chapter 4: CPU against GPU, measured; `from zoo import ch04_gpu as gpu`."""

from zoo.ch04_gpu.machine import backends
from zoo.ch04_gpu.memory import bandwidth, toy
from zoo.ch04_gpu.models import Model, choose, every
from zoo.ch04_gpu.roofline import Count, bound, count, peaks
