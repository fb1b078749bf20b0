"""Reconstructions G(E(x)) beside x: how far apart they are, in pixels and in features, and whether the class is kept.

BiGAN and BigBiGAN are not trained to reconstruct pixels, so a large pixel distance with a kept class is what their papers show.
A distance by itself says little, so each is also given as a share of the same distance between x and another real image: 0 is
perfect, 1 is no better than any image.

Source: Donahue et al. 2017, 1605.09782; Donahue and Simonyan 2019, 1907.02544.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Distance(NamedTuple):
    """rms: root mean square difference. relative: over that to another image; nan where those do not differ."""

    rms: float
    relative: float


def squared_difference(a: Tensor, b: Tensor) -> Tensor:
    """(B,) float64: of each pair of images or features, (B, ...), the mean square of their difference."""
    return (a.to(torch.float64) - b.to(torch.float64)).square().flatten(1).mean(1)


def distance(reconstructed: Tensor, unrelated: Tensor) -> Distance:
    """From the (N,) squared differences of x to its reconstruction, and to another image."""
    rms, others = (float(squares.mean().sqrt()) for squares in (reconstructed, unrelated))
    return Distance(rms, rms / others if others else float("nan"))


def agreement(probabilities: Tensor, others: Tensor) -> float:
    """The share of rows of (N, K) class probabilities whose most likely class is that of the other's row."""
    return float((probabilities.argmax(1) == others.argmax(1)).to(torch.float64).mean())
