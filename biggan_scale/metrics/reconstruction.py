"""Reconstructions G(E(x)) beside x: how far apart they are, in pixels and in features, and whether the class is kept.

BiGAN and BigBiGAN are not trained to reconstruct pixels, so a large pixel distance with a kept class is what their papers show.
A distance by itself says little, so each is given as a share of the same distance between x and another real image: 0 is perfect,
1 is no better than any image.

Source: Donahue et al. 2017, 1605.09782; Donahue and Simonyan 2019, 1907.02544.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Distance(NamedTuple):
    """root mean square difference; relative: over that to another image of the set."""

    rms: float
    relative: float


def distance(real: Tensor, reconstructed: Tensor) -> Distance:
    """Of (N, ...) images or features, N >= 2, in pairs."""
    real, reconstructed = real.flatten(1).to(torch.float64), reconstructed.flatten(1).to(torch.float64)
    apart, unrelated = (_rms(real - other) for other in (reconstructed, real.roll(1, 0)))
    return Distance(apart, apart / unrelated if unrelated else float("nan"))


def agreement(probabilities: Tensor, others: Tensor) -> float:
    """The share of rows of (N, K) class probabilities whose most likely class is that of the other's row."""
    return float((probabilities.argmax(1) == others.argmax(1)).to(torch.float64).mean())


def _rms(difference: Tensor) -> float:
    return float(difference.square().mean().sqrt())
