"""What a server counts, as Prometheus reads it; the measures of one server, none global."""

from collections.abc import Callable, Sequence

import prometheus_client as prometheus

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The measures of one server."""

    def __init__(self, sizes: Sequence[int], queue: Callable[[], int]):
        """Registers them.

        Args:
          sizes: that a batch may have.
          queue: gives the number of images that wait.
        """
        self.registry = registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=registry)
        self._requests = prometheus.Counter(
            "zoo_requests", "Requests answered", ("path", "status"), registry=registry
        )
        self._seconds = prometheus.Histogram(
            "zoo_request_seconds",
            "From a request's headers to its answer",
            ("path",),
            buckets=SECONDS,
            registry=registry,
        )
        self._refused = prometheus.Counter(
            "zoo_refused", "Requests refused, by reason", ("reason",), registry=registry
        )
        self._images = prometheus.Histogram(
            "zoo_batch_images", "Images in a batch, padding apart", buckets=sizes, registry=registry
        )
        self._padding = prometheus.Counter(
            "zoo_padding_images", "Places in batches that padding filled", registry=registry
        )
        self._batch_seconds = prometheus.Histogram(
            "zoo_batch_seconds", "Time of a compiled call", buckets=SECONDS, registry=registry
        )
        self.ready = prometheus.Gauge(
            "zoo_ready", "1 while the server takes requests", registry=registry
        )
        waiting = prometheus.Gauge("zoo_waiting_images", "Images in the queue", registry=registry)
        waiting.set_function(queue)
        self._children: dict[tuple[str, int], tuple] = {}

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Counts a request; `path` must be one of few."""
        children = self._children.get((path, status))
        if children is None:
            children = self._requests.labels(path, status), self._seconds.labels(path)
            self._children[path, status] = children
        children[0].inc()
        children[1].observe(seconds)

    def refused(self, reason: str) -> None:
        """Counts a refusal."""
        self._refused.labels(reason).inc()

    def batch(self, images: int, size: int, seconds: float) -> None:
        """Counts a compiled call."""
        self._images.observe(images)
        self._padding.inc(size - images)
        self._batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """Everything in Prometheus's text format."""
        return prometheus.generate_latest(self.registry)
