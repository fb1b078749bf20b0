"""Paths between latent vectors: straight and great-circle."""

from __future__ import annotations

import torch
from torch import Tensor


def lerp(a: Tensor, b: Tensor, t: float | Tensor) -> Tensor:
    """The point at fraction t of the straight line from a to b (any shape; t a number, or of a shape that fits)."""
    return a + (b - a) * t


def slerp(a: Tensor, b: Tensor, t: float | Tensor) -> Tensor:
    """The point at fraction t of the great circle from a to b, (B, dim), t a number or (B, 1); White 2016 (1609.04468).

    Keeps the norm typical of a Gaussian, which a straight line does not. Nearly parallel vectors fall back to the straight line.
    """
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1).clamp(-1, 1).unsqueeze(1)
    angle = torch.acos(cosine)
    sine = torch.sin(angle)
    weight_a, weight_b = torch.sin((1 - t) * angle) / sine, torch.sin(t * angle) / sine
    return torch.where(sine < 1e-4, lerp(a, b, t), weight_a * a + weight_b * b)
