"""The truncated normal distribution as a map of normal draws.

Redrawing until |z| <= t gives the normal distribution conditioned on that interval. Instead of redrawing (an unknown number of
draws) we map each draw monotonically: with F the normal distribution function, F(z) is uniform, so

    z' = F^-1( F(-t) + F(z) (F(t) - F(-t)) )

has exactly the distribution of redrawing, needs one draw per value, and moves smoothly with t: the same seed shows the same
image at every truncation.
"""

from __future__ import annotations

import torch
from torch import Tensor


def truncated_normal(z: Tensor, threshold: float) -> Tensor:
    """Normal draws mapped to the normal distribution truncated at +-threshold.

    Args:
        z: draws from N(0, 1), any shape.
        threshold: largest magnitude, above 0; 0 gives zeros.
    """
    if threshold <= 0:
        return torch.zeros_like(z)
    tail = torch.special.ndtr(-z.double().abs())  # the lower half only: F(z) near 1 has no digits left
    low = torch.special.ndtr(torch.tensor(-threshold, dtype=torch.float64, device=z.device))
    mapped = torch.special.ndtri(low + tail * (1 - 2 * low))  # in [-threshold, 0]
    return (-mapped.clamp(-threshold, 0) * z.sign()).to(z.dtype)
