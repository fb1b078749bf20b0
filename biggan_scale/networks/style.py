"""What the generators of the StyleGAN line share: a mapping from z to w, a synthesis from one w per layer, and truncation in w.

Karras et al. 2019 (1812.04948), 2020 (1912.04958), 2021 (2106.12423).
"""

from __future__ import annotations

import itertools
import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biggan_scale.config import ConfigError, ImageSpec
from biggan_scale.nn.equalized import EqualizedLinear, leaky_relu, normalize_second_moment

BOTTOM = 4  # px of the shorter side that G starts from and D ends at


class Mapping(nn.Module):
    """z and labels to w.

    Args:
        z_dim: length of z; 0: labels only.
        num_classes: 0: z only.
        w_dim: length of w and of the embedded label.
        num_layers: fully connected layers.
        lr_multiplier: of their learning rate.
    """

    def __init__(self, z_dim: int, num_classes: int, w_dim: int, num_layers: int, lr_multiplier: float) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.embed = EqualizedLinear(num_classes, w_dim) if num_classes else None
        widths = [z_dim + (w_dim if num_classes else 0)] + [w_dim] * num_layers
        self.layers = nn.ModuleList(EqualizedLinear(a, b, lr_multiplier=lr_multiplier) for a, b in itertools.pairwise(widths))

    def forward(self, z: Tensor | None, y: Tensor | None = None) -> Tensor:
        """z: (B, z_dim), None if there is none; y: (B,) int64, None without classes. Returns (B, w_dim)."""
        parts = [] if z is None else [normalize_second_moment(z)]
        if self.embed is not None:
            assert y is not None, "a conditional mapping needs labels"
            parts.append(normalize_second_moment(self.embed(F.one_hot(y, self.num_classes).to(self.embed.weight.dtype))))
        h = torch.cat(parts, dim=1)
        for layer in self.layers:
            h = leaky_relu(layer(h))
        return h


class StyleGenerator(nn.Module):
    """Latent vectors (and labels) to images.

    Subclasses name their SYNTHESIS: of `num_ws` ws, (B, num_ws, w_dim), and as many values of pixel noise, (B, num_noise) normal draws or
    None, as `noise_sizes` sum up to, it makes images.

    Args:
        config: the architecture.
        spec: size, channels and classes of the images.
        latent_dim: length of z.

    Attributes:
        w_avg: (w_dim,) the mean of w, towards which truncation moves; whoever trains keeps it.
    """

    SYNTHESIS: ClassVar[type[Any]]
    w_avg: Tensor

    def __init__(self, config: Any, spec: ImageSpec, latent_dim: int) -> None:
        super().__init__()
        self.config = config
        self.mapping = Mapping(latent_dim, spec.num_classes, config.w_dim, config.mapping_layers, config.mapping_lr)
        self.synthesis = self.SYNTHESIS(config, spec)
        self.num_ws: int = self.synthesis.num_ws
        self.num_noise: int = sum(self.synthesis.noise_sizes)
        self.register_buffer("w_avg", torch.zeros(config.w_dim))

    def forward(
        self, z: Tensor, y: Tensor | None = None, noise: Tensor | None = None, psi: float | Tensor = 1.0, cutoff: int | None = None
    ) -> Tensor:
        """Images (B, C, H, W), about [-1, 1].

        Args:
            z: (B, latent_dim). y: (B,) int64, None without classes.
            noise: (B, num_noise) for the pixels; None: the constant noise images.
            psi, cutoff: truncation, as of `truncate`.
        """
        return self.synthesis(self.truncate(self.broadcast(self.mapping(z, y)), psi, cutoff), noise)

    @property
    def magnitudes(self) -> Tensor:
        """(M,) running mean squares of activations that the synthesis normalises by; none here. Whoever trains keeps them, as w_avg."""
        return self.w_avg.new_empty(0)

    def observed(self, ws: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """What `synthesis` gives, and (B, M) the mean squares of this pass."""
        return self.synthesis(ws, noise), ws.new_empty(len(ws), 0)

    def broadcast(self, w: Tensor) -> Tensor:
        """(B, w_dim) to (B, num_ws, w_dim): the same w for every layer."""
        return w[:, None].expand(-1, self.num_ws, -1)

    def truncate(self, ws: Tensor, psi: float | Tensor, cutoff: int | None = None) -> Tensor:
        """mean + psi (w - mean) (1812.04948, appendix B): 1 changes nothing, 0 shows the mean image.

        Args:
            ws: (B, num_ws, w_dim).
            psi: a number, or (B,) of them.
            cutoff: of the first so many layers only; None: of all.
        """
        scale = psi.to(ws.dtype)[:, None, None] if isinstance(psi, Tensor) else psi
        truncated = torch.lerp(self.w_avg.to(ws.dtype).expand_as(ws), ws, scale)
        return truncated if cutoff is None else torch.cat([truncated[:, :cutoff], ws[:, cutoff:]], dim=1)


def sizes_from(spec: ImageSpec) -> list[tuple[int, int]]:
    """(height, width) of every resolution of networks that double, from the smallest, whose shorter side is 4 px.

    Raises:
        ConfigError: the images are no such resolution.
    """
    doublings = int(math.log2(max(min(spec.height, spec.width) / BOTTOM, 1)))
    factor = 2**doublings
    if min(spec.height, spec.width) != BOTTOM * factor or max(spec.height, spec.width) % factor:
        raise ConfigError(
            f"data.resolution {spec.height} x {spec.width}: StyleGAN doubles {BOTTOM} px; the shorter side is a power of 2 from {BOTTOM}, "
            f"and the longer divides by a quarter of it"
        )
    return [(spec.height // factor * 2**i, spec.width // factor * 2**i) for i in range(doublings + 1)]


def widths_of(sizes: list[tuple[int, int]], base: int, largest: int) -> list[int]:
    """Channels at each resolution."""
    return [max(min(base // min(size), largest), 1) for size in sizes]
