"""A noise image added to the features of a layer, with one learnt strength (Karras et al. 2019, 1812.04948, section 3.2).

The noise of training is drawn with everything else a sample needs and comes in as a tensor. Without one the layer adds the constant
image it was made with, so that a generator is a function of its latents.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PixelNoise(nn.Module):
    """(B, C, H, W) plus strength * noise.

    Args:
        height, width: of the layer.
        channels: how many strengths: 1 for all channels together (StyleGAN2), or one each (StyleGAN).
    """

    constant: Tensor

    def __init__(self, height: int, width: int, channels: int = 1) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(channels))  # one-dimensional also for 1: DeepSpeed cannot broadcast scalars
        self.register_buffer("constant", torch.randn(height, width))

    @property
    def num_values(self) -> int:
        """How many normal draws an image takes."""
        return self.constant.numel()

    def forward(self, x: Tensor, noise: Tensor | None) -> Tensor:
        """noise: (B, num_values), or None for the constant image."""
        image = self.constant if noise is None else noise.view(-1, 1, *self.constant.shape)
        return x + (self.strength.view(-1, 1, 1) * image).to(x.dtype)
