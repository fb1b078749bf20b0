"""A convolution that doubles or halves the size, with a resampling filter against aliases (Karras et al. 2020, 1912.04958).

The filter runs beside the strided convolution: one 6x6 kernel of both would take 2 to 10 times as long on a CPU.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from biggan_scale.nn.resample_fir import Fir


def upsample_conv2d(x: Tensor, kernel: Tensor, fir: Fir) -> Tensor:
    """filter(transposed convolution(x)): (B, C, H, W) to (B, C', 2H, 2W).

    Args:
        kernel: (C', C, k, k), odd k; not mirrored, as torch's transposed convolution takes it.
    """
    size, taps = kernel.shape[2], len(fir.taps)
    h = F.conv_transpose2d(x, kernel.transpose(0, 1), stride=2)  # (B, C', 2H + k - 2, 2W + k - 2)
    return fir.blur(h, (size // 2 + (taps + 1) // 2 - size + 1, size // 2 + (taps - 2) // 2 - size + 2), gain=4)


def downsample_conv2d(x: Tensor, kernel: Tensor, bias: Tensor | None, fir: Fir) -> Tensor:
    """strided convolution(filter(x)): (B, C, H, W) to (B, C', H/2, W/2).

    Args:
        kernel: (C', C, k, k), odd k. bias: (C',).
    """
    size, taps = kernel.shape[2], len(fir.taps)
    if size == 1:  # only the values that the convolution reads
        return F.conv2d(fir.downsample(x), kernel, bias)
    return F.conv2d(fir.blur(x, (size // 2 + (taps - 1) // 2, size // 2 + (taps - 2) // 2)), kernel, bias, stride=2)
