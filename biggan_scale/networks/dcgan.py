"""DCGAN (Radford et al. 2016, 1511.06434) for square images of 16 px and more: strided 4x4 convolutions and nothing else.

Widths double with every halving, c at half resolution: the paper's 64 px with 1024 channels at 4x4 is c = 128. Its rules: no pooling,
batch norm in both networks but not on G's output and D's input, no hidden linear layers, ReLU in G, leaky ReLU in D.

G: z -> linear -> 4x4 -> [norm, relu, transposed convolution] per doubling -> tanh
D: image -> [convolution, norm but not at first, leaky relu] per halving -> 4x4, flat -> score

Where D has batch norm, real and generated images need batches of their own: `game: {type: gan, apart: true}`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biggan_scale.config import ConfigError, ImageSpec
from biggan_scale.nn import init, spectral_norm
from biggan_scale.nn.norms import NORMS

BOTTOM = 4  # everything begins or ends at 4x4
SLOPE = 0.2  # of the leaky relu


@dataclass(frozen=True)
class GeneratorConfig:
    channels: int = 64  # c: the width at half resolution
    norm: Literal["batch", "group", "none"] = "batch"  # between the layers

    TINY: ClassVar[dict[str, Any]] = {"channels": 4}


@dataclass(frozen=True)
class DiscriminatorConfig:
    channels: int = 64  # c: the width at half resolution
    norm: Literal["batch", "group", "none"] = "batch"  # between the layers, not on the image
    spectral_norm: bool = False  # normalise every layer
    init: Literal["orthogonal", "normal", "xavier"] = "normal"  # how weights are drawn; normal: N(0, 0.02)
    outputs: int = 1  # values for an image: its score, or for games that compare features as many of these

    TINY: ClassVar[dict[str, Any]] = {"channels": 4}


class Generator(nn.Module):
    """Latent vectors to images.

    Args:
        config: the architecture.
        spec: size and channels of the images.
        latent_dim: length of z.
    """

    def __init__(self, config: GeneratorConfig, spec: ImageSpec, latent_dim: int) -> None:
        super().__init__()
        widths = widths_down(config.channels, spec)[::-1]  # from 4x4 up
        self.linear = nn.Linear(latent_dim, widths[0] * BOTTOM**2)
        self.norms = nn.ModuleList(NORMS[config.norm](width) for width in widths)
        self.convs = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in itertools.pairwise([*widths, spec.channels]))
        initialize(self)

    def forward(self, z: Tensor, y: None = None) -> Tensor:
        """z: (B, latent_dim). Returns (B, C, H, W) in [-1, 1]. There are no labels; y is there for callers that pass None."""
        h = self.linear(z).unflatten(1, (-1, BOTTOM, BOTTOM))  # (B, C, 4, 4)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            h = conv(F.relu(norm(h)))  # (B, C', 2H, 2W)
        return torch.tanh(h)


class ImageFeatures(nn.Module):
    """The convolutions of a discriminator. Subclasses add what reads the features, then call `finish`."""

    def __init__(self, channels: int, spec: ImageSpec, norm: str = "none") -> None:
        super().__init__()
        widths = widths_down(channels, spec)
        self.num_features = widths[-1] * BOTTOM**2
        self.convs = halvings(spec.channels, widths)
        self.norms = norms_between(widths, norm)

    def finish(self, normalise: bool, style: str = "orthogonal") -> None:
        """Draw the weights, once all layers are there."""
        init.initialize(self, style)
        if normalise:
            spectral_norm.apply(self, (nn.Conv2d, nn.Linear))

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] to (B, num_features)."""
        return through(self.convs, self.norms, images)


class Discriminator(ImageFeatures):
    """Images to scores, or to features.

    Args:
        config: the architecture.
        spec: size and channels of the images, which have no classes.
    """

    def __init__(self, config: DiscriminatorConfig, spec: ImageSpec) -> None:
        super().__init__(config.channels, spec, config.norm)
        if spec.num_classes:
            raise ConfigError(f"data.num_classes {spec.num_classes}: this discriminator knows no classes; set it to 0, or take biggan")
        if config.outputs < 1:
            raise ConfigError(f"outputs {config.outputs} must be at least 1")
        self.linear = nn.Linear(self.num_features, config.outputs)
        self.finish(config.spectral_norm, config.init)

    def forward(self, images: Tensor, y: None = None) -> Tensor:
        """images: (B, C, H, W) in [-1, 1]. Returns (B,) scores, before any sigmoid; (B, outputs) if there are several."""
        return self.score(self.features(images))

    def score(self, features: Tensor) -> Tensor:
        """The same of images whose (B, num_features) features are known."""
        return self.linear(features).squeeze(1)  # (B, outputs), unless that is 1


def widths_down(channels: int, spec: ImageSpec) -> list[int]:
    """The width after each halving, down to 4x4."""
    num_halvings = int(math.log2(spec.resolution / BOTTOM)) if spec.resolution > BOTTOM else 0
    if num_halvings < 2 or BOTTOM * 2**num_halvings != spec.resolution:
        raise ConfigError(f"data.resolution {spec.resolution}: these networks are defined for 16, 32, 64, 128, ...")
    if channels < 1:
        raise ConfigError(f"channels {channels} must be at least 1")
    return [channels * 2**i for i in range(num_halvings)]


def halvings(channels: int, widths: Sequence[int]) -> nn.ModuleList:
    """A strided convolution to each of the widths."""
    return nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in itertools.pairwise([channels, *widths]))


def norms_between(widths: Sequence[int], norm: str) -> nn.ModuleList:
    """A norm behind each halving but the first."""
    return nn.ModuleList(nn.Identity() if i == 0 else NORMS[norm](width) for i, width in enumerate(widths))


def through(convs: nn.ModuleList, norms: nn.ModuleList, images: Tensor) -> Tensor:
    """(B, C, H, W) through the halvings to (B, num_features)."""
    h = images
    for conv, norm in zip(convs, norms, strict=True):
        h = F.leaky_relu(norm(conv(h)), SLOPE)
    return h.flatten(1)


def initialize(network: nn.Module) -> None:
    """N(0, 0.02) as in the paper; torch's defaults for the norms."""
    init.initialize(network, "normal")
    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d):
            init.STYLES["normal"](module.weight)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
