"""What a server takes; the fields are flags of `serve`."""

import dataclasses

from zoo.common.data import DataError


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a server takes."""

    max_batch: int = 32
    """most images in a compiled call; 1 switches batching off"""
    max_delay: float = 2.0
    """milliseconds that an image waits for others at the most, if nothing is computed"""
    max_queue: int = 128
    """requests under way; more get 429"""
    max_bytes: int = 4 * 1024 * 1024
    """of a request's body"""
    max_pixels: int = 16_000_000
    """of a picture before it is shrunk; its header tells, before anything is unpacked"""
    timeout: float = 10.0
    """seconds for a request, from its headers to its answer"""
    drain: float = 1.0
    """seconds after SIGTERM in which new requests are still taken, while /readyz says 503"""

    def check(self) -> None:
        """Raises a DataError where a limit makes no sense."""
        wrong = [
            f"--{name.replace('_', '-')} {value}"
            for name, value in dataclasses.asdict(self).items()
            if not (value > 0 or (value == 0 and name in ("max_delay", "drain")))
        ]
        if wrong:
            raise DataError(f"{', '.join(wrong)}: use a positive number")
