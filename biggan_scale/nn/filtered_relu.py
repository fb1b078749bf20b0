"""A pointwise non-linearity that makes no aliases (Karras et al. 2021, 2106.12423, section 3.1).

A non-linearity widens the spectrum beyond what the grid can hold. So it acts at a higher rate, between two low-pass filters:

    y = decimate(filter(leaky ReLU(filter(insert zeros(pad(x))))))

The two resamplings also bring features from the rate, and the size, of one layer to those of the next.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from biggan_scale.nn.equalized import leaky_relu
from biggan_scale.nn.resample_fir import Fir, upfirdn


class FilteredLeakyRelu(nn.Module):
    """(B, C, H, W) to (B, C, H', W'), H' = (up H + padding - taps of both filters + 2) / down, rounded up; and so W'.

    Args:
        up, down: factors to the rate of the non-linearity and back.
        up_taps, down_taps: filters at that rate, (k,) or (k, k).
        padding: zeros before and after each axis, counted at that rate; negative cuts off.
        clamp: largest magnitude; None: not clamped.
    """

    def __init__(self, up: int, up_taps: Tensor, down: int, down_taps: Tensor, padding: tuple[int, int], clamp: float | None) -> None:
        super().__init__()
        self.up = up
        self.down = down
        self.padding = padding
        self.clamp = clamp
        self.up_fir = Fir(up_taps)
        self.down_fir = Fir(down_taps)

    def forward(self, x: Tensor) -> Tensor:
        h = upfirdn(x, self.up_fir.taps, up=self.up, padding=self.padding, gain=self.up**2)
        return upfirdn(leaky_relu(h, math.sqrt(2), self.clamp), self.down_fir.taps, down=self.down)
