"""Affine warps of images, per sample, without aliases and twice differentiable.

    reflect at the borders -> twice the size (sym6 wavelet filter) -> bilinear samples at the warped places -> half the size (same filter)

The filter is orthonormal, so that the identity is returned as it came, and so is an image moved by whole pixels.
Karras et al. 2020, 2006.06676, appendix B.2. There the image is first padded by as much as the batch needs, here the places are
reflected: no size depends on random numbers, and the memory is a ninth of what three images by three would take.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from biggan_scale.nn.resample_fir import upfirdn

# Daubechies' least asymmetric orthonormal low-pass of 12 taps ("symlet 6"), normalised to sum sqrt(2).
SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
HALF = len(SYM6) // 2
MARGIN = 4  # pixels kept beyond the border: the second filter reads 2.75
SMALLEST = HALF + MARGIN + 1  # px


def warp(images: Tensor, inverse: Tensor) -> Tensor:
    """The image at `inverse @ (x, y, 1)` for each place (x, y) of the result.

    Args:
        images: (B, C, H, W), H and W of at least `SMALLEST`.
        inverse: (B, 3, 3), from the result's places to the image's, in pixels from the centre.
    """
    height, width = images.shape[2:]
    taps = images.new_tensor(SYM6) / math.sqrt(2)
    padded = F.pad(images, (HALF + MARGIN,) * 4, mode="reflect")
    large = upfirdn(_interleaved(padded), taps, up=2, padding=(-HALF, -HALF - 1), gain=4)  # (B, C, 2 (H + 2 MARGIN), ...)
    x, y = _places(width, inverse), _places(height, inverse)[:, None]
    source = inverse[:, :2, :, None, None]  # (B, 2, 3, 1, 1)
    places = source[:, :, 0] * x + source[:, :, 1] * y + source[:, :, 2]  # (B, 2, H', W')
    grid = torch.stack([_folded(places[:, 0], width), _folded(places[:, 1], height)], dim=-1)
    moved = F.grid_sample(large, grid.to(large.dtype), mode="bilinear", padding_mode="border", align_corners=False)
    return upfirdn(_interleaved(moved), taps, down=2)


def _interleaved(images: Tensor) -> Tensor:
    """The same with the channels of a pixel side by side, where filtering each of three channels is 3 times as fast on a CPU."""
    return images.contiguous(memory_format=torch.channels_last)


def _places(size: int, like: Tensor) -> Tensor:
    """Where the result at twice the size has its values, with those that its filter reads beyond the border: pixels from the centre."""
    fine = torch.arange(1 - HALF, 2 * size + HALF - 1, device=like.device, dtype=like.dtype)
    return (fine + 0.5) / 2 - size / 2


def _folded(place: Tensor, size: int) -> Tensor:
    """Pixels from the centre to grid_sample's units of the enlarged image, reflected at the border pixels if beyond the margin."""
    x = place + (size - 1) / 2  # 0 .. size - 1
    around = x - (x * (0.5 / (size - 1))).floor() * (2 * (size - 1))  # x modulo twice the size: remainder() takes 5 times as long
    reflected = torch.where(around <= size - 1, around, 2 * (size - 1) - around)
    inside = (x >= 1 - MARGIN) & (x <= size - 2 + MARGIN)
    return (2 * torch.where(inside, x, reflected) + 2 * MARGIN + 1) / (size + 2 * MARGIN) - 1


def translation(x: Tensor, y: Tensor) -> Tensor:
    """(B, 3, 3) from (B, 1) shifts."""
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return _matrix([[one, zero, x], [zero, one, y], [zero, zero, one]])


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """(B, 3, 3) from (B, 1) factors."""
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return _matrix([[x, zero, zero], [zero, y, zero], [zero, zero, one]])


def rotation(angle: Tensor) -> Tensor:
    """(B, 3, 3) from (B, 1) angles in radians."""
    one, zero, cosine, sine = torch.ones_like(angle), torch.zeros_like(angle), angle.cos(), angle.sin()
    return _matrix([[cosine, -sine, zero], [sine, cosine, zero], [zero, zero, one]])


def _matrix(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.cat(row, dim=1) for row in rows], dim=1)
