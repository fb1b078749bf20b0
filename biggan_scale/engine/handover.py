"""From the loader's memory to the device's: on a GPU one micro-batch ahead, so that copying hides behind computing.

The batch goes through pinned memory on a stream of its own while the one before is being computed with; the computing stream
waits for the copy's event, not for the copy. On a CPU there is nothing to copy, and nothing is done ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

A = TypeVar("A")
B = TypeVar("B")

Tensors = tuple[Tensor, ...]


def handed_over(items: Iterable[A], tensors: Callable[[A], Tensors], device: torch.device) -> Iterator[tuple[A, Tensors]]:
    """Each item with its tensors on the device, in order.

    Args:
        items: what the loader yields. An error of the loader comes one item early on a GPU.
        tensors: those of an item that are needed there.
        device: where to.
    """
    if device.type != "cuda":
        yield from ((item, tensors(item)) for item in items)
        return
    stream = torch.cuda.Stream(device)
    for item, copies, copied in one_ahead(items, lambda item: (item, *_copied(tensors(item), device, stream))):
        computing = torch.cuda.current_stream(device)
        computing.wait_event(copied)
        for copy in copies:
            copy.record_stream(computing)  # its memory is not reused before the computation is done with it
        yield item, copies


def one_ahead(items: Iterable[A], begin: Callable[[A], B]) -> Iterator[B]:
    """begin(item) for each item, begun before the one before it is handed out."""
    waiting: list[B] = []
    for item in items:
        waiting.append(begin(item))
        if len(waiting) == 2:
            yield waiting.pop(0)
    yield from waiting


def _copied(tensors: Tensors, device: torch.device, stream: torch.cuda.Stream) -> tuple[Tensors, torch.cuda.Event]:
    with torch.cuda.stream(stream):
        copies = tuple(tensor.pin_memory().to(device, non_blocking=True) for tensor in tensors)
        event = torch.cuda.Event()
        event.record(stream)
    return copies, event
