"""Kernel inception distance: the squared maximum mean discrepancy of two sets of features, with an unbiased estimator.

    k(x, y) = (<x, y> / D + 1)^3
    MMD^2 = mean over i != j of k(x_i, x_j) + mean over i != j of k(y_i, y_j) - 2 mean over i, j of k(x_i, y_j)

Taken on subsets of the samples; the mean over subsets is the value, their standard deviation tells how sure it is. Being unbiased
it does not fall with more samples as the Frechet distance does, and may come out below 0.

Source: Binkowski et al., "Demystifying MMD GANs", 1801.01401; subsets of 1000 as there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from biggan_scale.data.order import permutation
from biggan_scale.dist.seeds import derive_seed
from biggan_scale.losses.mmd import unbiased
from biggan_scale.metrics.distances import Tick, no_tick

NUM_SUBSETS = 100
SUBSET_SIZE = 1000

Subset = tuple[Tensor, Tensor]  # indices into the real and into the generated samples, equally many


class Kid(NamedTuple):
    """mean of MMD^2 over subsets, and its standard deviation over them (of the population, as is customary)."""

    mean: float
    std: float


def subsets(num_real: int, num_fake: int, seed: int, num: int = NUM_SUBSETS, size: int = SUBSET_SIZE) -> list[Subset]:
    """`num` random subsets, without repetition within one, of `size` samples of each kind; of few samples, of half of them."""
    size = min(size, num_real // 2, num_fake // 2)

    def draw(kind: str, subset: int, num_samples: int) -> Tensor:
        return torch.from_numpy(permutation(num_samples, derive_seed(seed, f"kid/{kind}", subset))[:size])

    return [(draw("real", i, num_real), draw("fake", i, num_fake)) for i in range(num)]


def kid(real: Tensor, fake: Tensor, subsets: Iterable[Subset], tick: Tick = no_tick) -> Kid:
    """(N, D) and (M, D) features; every subset has two samples of each kind or more."""
    values = []
    for of_real, of_fake in subsets:
        tick()
        values.append(mmd2(real[of_real], fake[of_fake]))
    over_subsets = torch.stack(values)
    return Kid(float(over_subsets.mean()), float(over_subsets.std(correction=0)))


def mmd2(x: Tensor, y: Tensor) -> Tensor:
    """The unbiased MMD^2 of two sets of n features, (n, D), in float64."""
    x, y = x.to(torch.float64), y.to(torch.float64)
    return unbiased(_kernel(x, x), _kernel(y, y), _kernel(x, y))


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3
