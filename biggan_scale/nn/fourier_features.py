"""A continuous picture to start from: waves of fixed frequencies, moved and turned by w (Karras et al. 2021, 2106.12423, section 3.2).

    wave_c(x) = sin(2 pi (f_c . T x + phi_c)) a_c,    T = R(w) t(w) U

f is uniform in the disc of the bandwidth, phi uniform in [-1/2, 1/2). An affine layer gives rotation and translation of an image; U is
for whoever wants to move images by hand, the inverse of what they undergo. A wave that T raises beyond the bandwidth is faded out until
half the sampling rate. Waves are mixed by a learnt matrix.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from biggan_scale.nn.equalized import EqualizedLinear


class FourierFeatures(nn.Module):
    """(B, w_dim) to (B, channels, height, width); a unit of length is `rate` values, the origin is in the centre.

    Args:
        w_dim: length of w.
        channels: number of waves.
        size: height, width.
        rate: sampling rate.
        bandwidth: highest frequency, in cycles per unit.

    Attributes:
        transform: (3, 3) the U above, on homogeneous (x, y, 1).
    """

    transform: Tensor
    frequencies: Tensor
    phases: Tensor

    def __init__(self, w_dim: int, channels: int, size: tuple[int, int], rate: float, bandwidth: float) -> None:
        super().__init__()
        self.size = size
        self.rate = rate
        self.bandwidth = bandwidth
        self.affine = EqualizedLinear(w_dim, 4)  # cos and sin of the rotation (to be normalised), and the translation
        nn.init.zeros_(self.affine.weight)
        self.affine.bias = nn.Parameter(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        self.weight = nn.Parameter(torch.randn(channels, channels))
        direction, radius = 2 * math.pi * torch.rand(channels), bandwidth * torch.rand(channels).sqrt()
        self.register_buffer("transform", torch.eye(3))
        self.register_buffer("frequencies", radius[:, None] * torch.stack([direction.cos(), direction.sin()], dim=1))
        self.register_buffer("phases", torch.rand(channels) - 0.5)

    def forward(self, w: Tensor) -> Tensor:
        with torch.autocast(w.device.type, enabled=False):
            transform = self._transform(w.to(torch.promote_types(w.dtype, torch.float32)))
            frequencies = self.frequencies @ transform[:, :2, :2]  # (B, C, 2)
            phases = self.phases + (self.frequencies @ transform[:, :2, 2:]).squeeze(2)  # (B, C)
            faded = (frequencies.norm(dim=2) - self.bandwidth) / (self.rate / 2 - self.bandwidth)
            waves = torch.einsum("hwx,bcx->bhwc", self._places(), frequencies) + phases[:, None, None]
            waves = torch.sin(2 * math.pi * waves) * (1 - faded).clamp(0, 1)[:, None, None]
            return (waves @ self.weight.T / math.sqrt(len(self.weight))).permute(0, 3, 1, 2)

    def _transform(self, w: Tensor) -> Tensor:
        """(B, 3, 3): the T above."""
        t = self.affine(w)
        cos, sin, x, y = (t / t[:, :2].norm(dim=1, keepdim=True)).unbind(1)
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        rotation = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=1).view(-1, 3, 3)
        translation = torch.stack([one, zero, -x, zero, one, -y, zero, zero, one], dim=1).view(-1, 3, 3)
        return rotation @ translation @ self.transform

    def _places(self) -> Tensor:
        """(height, width, 2): x and y of every value."""
        y, x = ((torch.arange(n, device=self.phases.device).to(self.phases.dtype) + 0.5 - n / 2) / self.rate for n in self.size)
        return torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], dim=2)
