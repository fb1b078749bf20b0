"""Equalised learning rate (Karras et al. 2018, 1710.10196, section 4.1): weights stay N(0, 1), and are scaled where they are used.

    y = (w c) x + b m,    c = m / sqrt(fan in)

Adam's step has the size of the learning rate whatever the scale of a weight; with every weight of one scale, all learn equally
fast. m is the layer's learning-rate multiplier: its weights are stored 1 / m times as large and so move m times as fast (0.01 in the
mapping network of 1812.04948).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2


def leaky_relu(x: Tensor, gain: float = math.sqrt(2), clamp: float | None = None) -> Tensor:
    """gain * leaky ReLU(x), then clamped to +-clamp; the gain sqrt(2) keeps the second moment of normal activations near 1."""
    h = F.leaky_relu(x, SLOPE).mul_(gain)
    return h if clamp is None else h.clamp(-clamp, clamp)


def normalize_second_moment(x: Tensor) -> Tensor:
    """(B, N), or (B, N, H, W), to the same with mean square 1 over the N values ("pixel norm")."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class EqualizedLinear(nn.Module):
    """(B, in) to (B, out).

    Args:
        in_features, out_features: widths.
        bias: its initial value as it is used.
        lr_multiplier: the m above.
    """

    def __init__(self, in_features: int, out_features: int, bias: float = 0.0, lr_multiplier: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), bias / lr_multiplier))
        self.lr_multiplier = lr_multiplier
        self.scale = lr_multiplier / math.sqrt(in_features)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias * self.lr_multiplier)


class EqualizedConv2d(nn.Module):
    """(B, in, H, W) to (B, out, H, W), odd kernel; `kernel` and `bias` are for whoever convolves otherwise.

    Args:
        in_channels, out_channels, kernel_size: of the convolution.
        bias: whether there is one; it begins at 0.
    """

    bias: Tensor | None

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.register_parameter("bias", nn.Parameter(torch.zeros(out_channels)) if bias else None)
        self.scale = 1 / math.sqrt(in_channels * kernel_size**2)

    @property
    def kernel(self) -> Tensor:
        """(out, in, k, k): the weights as they are used."""
        return self.weight * self.scale

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel, self.bias, padding=self.weight.shape[2] // 2)
