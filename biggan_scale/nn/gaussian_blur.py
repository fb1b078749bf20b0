"""A Gaussian blur of images."""

from __future__ import annotations

import torch
from torch import Tensor

from biggan_scale.nn.resample_fir import upfirdn


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """(B, C, H, W) to the same, with zeros around them; below a third of a pixel the images themselves.

    Args:
        images: (B, C, H, W).
        sigma: standard deviation in pixels.
    """
    radius = int(3 * sigma)
    if radius == 0:
        return images
    places = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device) / sigma
    taps = torch.exp(-places.square() / 2)
    return upfirdn(images, taps / taps.sum(), padding=(radius, radius))
