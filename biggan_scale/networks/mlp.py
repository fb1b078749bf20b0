"""Fully connected networks for images of a few pixels: toys, on which an algorithm can be tried in seconds.

G: z (and the embedded label) -> hidden layers -> pixels, tanh.
D: pixels -> hidden layers -> h;    score = linear(h) + <embed(y), h>    (projection, Miyato & Koyama 2018, 1802.05637)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biggan_scale.config import ConfigError, ImageSpec
from biggan_scale.nn import spectral_norm


@dataclass(frozen=True)
class GeneratorConfig:
    width: int = 128  # of every hidden layer
    depth: int = 2  # hidden layers
    spectral_norm: bool = False  # normalise the linear layers

    TINY: ClassVar = {"width": 8}

    def __post_init__(self) -> None:
        _require_positive(self.width, self.depth)


@dataclass(frozen=True)
class DiscriminatorConfig:
    width: int = 128  # of every hidden layer
    depth: int = 2  # hidden layers
    spectral_norm: bool = True  # normalise the linear layers and the embedding

    TINY: ClassVar = {"width": 8}

    def __post_init__(self) -> None:
        _require_positive(self.width, self.depth)


class Generator(nn.Module):
    """Latent vectors (and labels) to images. The embedded label is as long as z."""

    def __init__(self, config: GeneratorConfig, spec: ImageSpec, latent_dim: int) -> None:
        super().__init__()
        self.shape = (spec.channels, spec.height, spec.width)
        self.embed = nn.Embedding(spec.num_classes, latent_dim) if spec.num_classes else None
        self.hidden = _layers(latent_dim * (2 if spec.num_classes else 1), config.width, config.depth)
        self.output = nn.Linear(config.width, spec.channels * spec.height * spec.width)
        if config.spectral_norm:
            spectral_norm.apply(self, (nn.Linear,))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """z: (B, latent_dim); y: (B,) int64, None without classes. Returns (B, C, H, W) in [-1, 1]."""
        h = z if self.embed is None else torch.cat([z, self.embed(y)], dim=1)
        return torch.tanh(self.output(_through(self.hidden, h))).unflatten(1, self.shape)


class Discriminator(nn.Module):
    """Images (and labels) to scores."""

    def __init__(self, config: DiscriminatorConfig, spec: ImageSpec) -> None:
        super().__init__()
        self.hidden = _layers(spec.channels * spec.height * spec.width, config.width, config.depth)
        self.linear = nn.Linear(config.width, 1)
        self.embed = nn.Embedding(spec.num_classes, config.width) if spec.num_classes else None
        if config.spectral_norm:
            spectral_norm.apply(self, (nn.Linear, nn.Embedding))

    def forward(self, images: Tensor, y: Tensor | None = None) -> Tensor:
        """images: (B, C, H, W) in [-1, 1]; y: (B,) int64, None without classes. Returns (B,) scores, before any sigmoid."""
        h = _through(self.hidden, images.flatten(1))
        score = self.linear(h).squeeze(1)  # (B,)
        return score if self.embed is None else score + (self.embed(y) * h).sum(1)


def _layers(before: int, width: int, depth: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(before if i == 0 else width, width) for i in range(depth))


def _through(layers: nn.ModuleList, h: Tensor) -> Tensor:
    for layer in layers:
        h = F.leaky_relu(layer(h), 0.2)
    return h


def _require_positive(width: int, depth: int) -> None:
    if min(width, depth) < 1:
        raise ConfigError(f"width {width} and depth {depth} must be at least 1")
