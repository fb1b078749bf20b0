"""Euclidean distances between two sets of features, a block of rows at a time: what precision, recall and neighbours stand on.

All squared distances of 50,000 x 50,000 features would be 20 GB in float64; a block is BLOCK rows of them. The features are first
moved to a common origin, because |a - b|^2 = |a|^2 + |b|^2 - 2 <a, b> loses the digits that both have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 1024

Tick = Callable[[], object]  # called between the parts of a long computation; may raise to end it


def no_tick() -> None:
    """For who computes to the end."""


class Nearest(NamedTuple):
    """distances: (N, k) float64, ascending; indices: (N, k) into the other set."""

    distances: Tensor
    indices: Tensor


def blocks(a: Tensor, b: Tensor, tick: Tick = no_tick) -> Iterator[tuple[int, Tensor]]:
    """(first row, (rows, M) squared distances in float64) for the rows of `a`, (N, D), to all of `b`, (M, D)."""
    origin = b.to(torch.float64).mean(0)
    b = b.to(torch.float64) - origin
    b_norm = b.square().sum(1)
    for start in range(0, len(a), BLOCK):
        tick()
        rows = a[start : start + BLOCK].to(torch.float64) - origin
        squared = rows.square().sum(1, keepdim=True) + b_norm - 2 * rows @ b.T  # (rows, M)
        yield start, squared.clamp_(min=0)


def nearest(a: Tensor, b: Tensor, k: int, *, is_same: bool = False, tick: Tick = no_tick) -> Nearest:
    """The k nearest of `b`, (M, D), to each of `a`, (N, D).

    Args:
        is_same: a and b are one set, and no sample is its own neighbour. k < M then, else k <= M.
    """
    distances, indices = [], []
    for start, squared in blocks(a, b, tick):
        if is_same:
            rows = torch.arange(len(squared))
            squared[rows, start + rows] = torch.inf
        values, places = squared.topk(k, dim=1, largest=False)
        distances.append(values.sqrt())
        indices.append(places)
    return Nearest(torch.cat(distances), torch.cat(indices))
