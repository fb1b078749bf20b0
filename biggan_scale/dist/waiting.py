"""How long this process has waited for other ranks. What is left of its time is its own: a slow rank is the one that waits least.

Measured on the host: exact where ranks are CPUs. On GPUs, where waiting happens in a queue, only what the host itself does shows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

_total = 0.0


def seconds() -> float:
    """Since this process began."""
    return _total


@contextmanager
def waiting() -> Iterator[None]:
    """Around a call that returns when other ranks have come to it too."""
    began = time.perf_counter()
    try:
        yield
    finally:
        add(time.perf_counter() - began)


def add(duration: float) -> None:
    global _total
    _total += duration
