"""Adaptive instance normalisation (Huang & Belongie 2017, 1703.06868; Karras et al. 2019, 1812.04948, equation 1).

    AdaIN(x, y) = y_s (x - mean(x)) / std(x) + y_b

mean and std of every channel of every sample, over its pixels; y = (y_s, y_b) is an affine function of w.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from biggan_scale.nn.equalized import EqualizedLinear

EPS = 1e-8


class AdaIn(nn.Module):
    """(B, channels, H, W) and w, (B, w_dim), to (B, channels, H, W); at first the plain normalisation for w = 0.

    Args:
        w_dim: length of w.
        channels: of x.
    """

    def __init__(self, w_dim: int, channels: int) -> None:
        super().__init__()
        self.style = EqualizedLinear(w_dim, 2 * channels)
        with torch.no_grad():
            self.style.bias[:channels] = 1  # of y_s

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        scale, shift = self.style(w)[:, :, None, None].chunk(2, dim=1)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # means of thousands of pixels, whatever the precision
        variance, mean = torch.var_mean(wide, (2, 3), correction=0, keepdim=True)
        return ((wide - mean) * (variance + EPS).rsqrt() * scale + shift).to(x.dtype)
