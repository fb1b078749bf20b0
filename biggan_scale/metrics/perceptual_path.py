"""Perceptual path length: how fast an image changes, to a network's eyes, on the way from one latent to another.

    l = E[ |f(G(x(t))) - f(G(x(t + eps)))|^2 / eps^2 ],   t ~ U(0, 1)

x goes straight from one w to another, or along the great circle from one z to another (Karras et al. 2019, 1812.04948, section 4.1).
A smooth latent space has short paths. The smallest and the largest hundredth of the values are left out of the mean, as in
1912.04958's code. f is there a trained network (LPIPS), here whatever features are asked for, so that lengths can be compared
between models in the same features only.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-4
OUTLIERS = 0.01  # share left out on either side


def lengths(near: Tensor, far: Tensor) -> Tensor:
    """(B,) float64 from the features (B, D) at t and at t + EPSILON."""
    return (near.to(torch.float64) - far.to(torch.float64)).flatten(1).square().sum(1) / EPSILON**2


def mean_without_outliers(values: Tensor) -> float:
    """Of (N,) path lengths, N at least 1."""
    ordered = values.sort().values
    cut = int(len(ordered) * OUTLIERS)
    return float(ordered[cut : len(ordered) - cut].mean())
