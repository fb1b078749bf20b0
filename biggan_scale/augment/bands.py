"""Octave bands of an image, to be strengthened or weakened (Karras et al. 2020, 2006.06676, appendix B.2, "image-space filtering").

With the orthonormal low-pass H (sym2), L = H(z) H(1/z) / 2 and its mirror M = 1 - L split the frequencies in two. Repeated on the lower
half: M(z), L(z) M(z^2), L(z) L(z^2) M(z^4), L(z) L(z^2) L(z^4), which sum to 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)
NUM_BANDS = 4
POWER = tuple(weight / 13 for weight in (10, 1, 1, 1))  # of natural images, from the lowest band


def bank() -> Tensor:
    """(NUM_BANDS, 43) filters in float64, from the lowest band."""
    low = torch.tensor(SYM2, dtype=torch.float64)
    low = _convolve(low, low.flip(0)) / 2
    high = -low
    high[len(low) // 2] += 1
    bands, passed = [], torch.ones(1, dtype=torch.float64)
    for octave in range(NUM_BANDS - 1):
        bands.append(_convolve(passed, _stretched(high, 2**octave)))
        passed = _convolve(passed, _stretched(low, 2**octave))
    bands.append(passed)
    size = len(passed)
    return torch.stack([F.pad(band, ((size - len(band)) // 2,) * 2) for band in reversed(bands)])


def filtered(images: Tensor, kernels: Tensor) -> Tensor:
    """(B, C, H, W) images, each filtered along both axes by its own (B, k) symmetric kernel, reflecting at the borders."""
    batch, channels, height, width = images.shape
    half = kernels.shape[1] // 2
    x = _reflected(_reflected(images, half, 2), half, 3).reshape(1, batch * channels, height + 2 * half, width + 2 * half)
    weight = kernels.to(images.dtype).repeat_interleave(channels, dim=0)[:, None]  # (B C, 1, k)
    x = F.conv2d(x, weight[:, :, None, :], groups=batch * channels)
    x = F.conv2d(x, weight[:, :, :, None], groups=batch * channels)
    return x.reshape(images.shape)


def _reflected(x: Tensor, amount: int, dim: int) -> Tensor:
    """Padded on both ends of an axis, which may be shorter than the padding."""
    size = x.shape[dim]
    places = torch.arange(-amount, size + amount, device=x.device)
    period = max(2 * (size - 1), 1)
    places = places.remainder(period)
    return x.index_select(dim, torch.where(places < size, places, period - places))


def _convolve(a: Tensor, b: Tensor) -> Tensor:
    return F.conv1d(a[None, None], b.flip(0)[None, None], padding=len(b) - 1)[0, 0]


def _stretched(taps: Tensor, factor: int) -> Tensor:
    """H(z) to H(z^factor)."""
    result = taps.new_zeros((len(taps) - 1) * factor + 1)
    result[::factor] = taps
    return result
