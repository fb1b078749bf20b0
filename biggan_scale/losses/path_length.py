"""Path lengths: how far an image moves when w does (Karras et al. 2020, 1912.04958, section 3.2).

    J = dG(w)/dw,   length = |J^T y|,  y ~ N(0, I) / sqrt(pixels);      penalty (length - a)^2, a a running mean of lengths

The penalty asks that a step of w of fixed size move every image alike. With one w per layer the squared norm is the mean over layers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def path_lengths(images: Tensor, ws: Tensor, noise: Tensor) -> Tensor:
    """(B,): the lengths, differentiable.

    Args:
        images: (B, C, H, W), a function of ws.
        ws: (B, num_ws, w_dim), requiring a gradient.
        noise: (B, C, H, W) of N(0, 1).
    """
    pixels = images.shape[2] * images.shape[3]
    (gradient,) = torch.autograd.grad((images * noise).sum() / math.sqrt(pixels), ws, create_graph=True)
    return gradient.to(torch.promote_types(gradient.dtype, torch.float32)).square().sum(2).mean(1).sqrt()
