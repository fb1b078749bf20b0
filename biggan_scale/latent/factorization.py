"""Directions that change an image most, in closed form from the weights that read a latent (Shen and Zhou 2021, 2007.06600: SeFa).

A step along n changes what the layers W see by alpha W n. The unit vectors that maximise |W n|^2, each orthogonal to those before
it, are the eigenvectors of W^T W with the largest eigenvalues. No sample is drawn and nothing is trained.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Directions(NamedTuple):
    """vectors: (k, dim), orthonormal, strongest first, the largest component of each positive. strengths: (k,) |W n|^2."""

    vectors: Tensor
    strengths: Tensor


def directions(weight: Tensor, num: int) -> Directions:
    """The `num` strongest of a linear map (rows, dim): all layers' that read the latent, one below the other."""
    wide = weight.detach().to(torch.float64)
    strengths, vectors = torch.linalg.eigh(wide.T @ wide)  # ascending, in columns
    found = vectors.T.flip(0)[:num]
    signs = found.gather(1, found.abs().argmax(1, keepdim=True)).sign()
    return Directions((found * signs).to(weight.dtype), strengths.flip(0)[:num].clamp(min=0).to(weight.dtype))
