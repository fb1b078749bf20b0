"""Small convolutional networks for pairs (x, z): generator, encoder and discriminators, for square images of 16 px and more.

Strided 4x4 convolutions as in DCGAN (Radford et al. 2016, 1511.06434), which BiGAN builds on (Donahue et al. 2017, 1605.09782,
appendix C): widths double with every halving, c at half resolution. The joint discriminator puts z in behind the convolutions.

G: z -> linear -> 4x4 -> [norm, relu, transposed convolution] per doubling -> tanh
E: image -> [convolution, norm, leaky relu] per halving -> 4x4, flat -> mean (and standard deviation) of z
D: image -> [convolution, leaky relu] per halving -> 4x4, flat -> score; the joint one: with z, residual perceptrons -> scores
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biggan_scale.config import ConfigError, ImageSpec
from biggan_scale.nn import init, posterior, spectral_norm
from biggan_scale.nn.joint_scores import JointScores
from biggan_scale.nn.norms import NORMS

BOTTOM = 4  # everything begins or ends at 4x4
SLOPE = 0.2  # of the leaky relu, as in DCGAN


@dataclass(frozen=True)
class GeneratorConfig:
    channels: int = 64  # c: the width at half resolution
    norm: Literal["batch", "group", "none"] = "batch"  # between the layers

    TINY: ClassVar = {"channels": 4}


@dataclass(frozen=True)
class EncoderConfig:
    channels: int = 64  # c: the width at half resolution
    norm: Literal["batch", "group", "none"] = "batch"  # between the layers, not on the image
    stochastic: bool = False  # q(z | x) with a standard deviation (ALI); false: a point (BiGAN)

    TINY: ClassVar = {"channels": 4}


@dataclass(frozen=True)
class DiscriminatorConfig:
    channels: int = 64  # c: the width at half resolution
    spectral_norm: bool = True  # normalise every layer

    TINY: ClassVar = {"channels": 4}


@dataclass(frozen=True)
class JointDiscriminatorConfig:
    channels: int = 64  # c: the width at half resolution
    mlp_width: int = 512  # of the perceptrons that see z
    mlp_blocks: int = 1  # residual blocks of two layers in each of them
    spectral_norm: bool = True  # normalise every layer

    TINY: ClassVar = {"channels": 4, "mlp_width": 8}


class Generator(nn.Module):
    """Latent vectors to images.

    Args:
        config: the architecture.
        spec: size and channels of the images.
        latent_dim: length of z.
    """

    def __init__(self, config: GeneratorConfig, spec: ImageSpec, latent_dim: int) -> None:
        super().__init__()
        widths = _widths(config.channels, spec)[::-1]  # from 4x4 up
        self.linear = nn.Linear(latent_dim, widths[0] * BOTTOM**2)
        self.norms = nn.ModuleList(NORMS[config.norm](width) for width in widths)
        self.convs = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in itertools.pairwise([*widths, spec.channels]))
        _initialize(self)

    def forward(self, z: Tensor, y: None = None) -> Tensor:
        """z: (B, latent_dim). Returns (B, C, H, W) in [-1, 1]. There are no labels; y is there for callers that pass None."""
        h = self.linear(z).unflatten(1, (-1, BOTTOM, BOTTOM))  # (B, C, 4, 4)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            h = conv(F.relu(norm(h)))  # (B, C', 2H, 2W)
        return torch.tanh(h)


class Encoder(posterior.Encoder):
    """Images to latent vectors.

    Args:
        config: the architecture.
        spec: size and channels of the images.
        latent_dim: length of z.
    """

    def __init__(self, config: EncoderConfig, spec: ImageSpec, latent_dim: int) -> None:
        widths = _widths(config.channels, spec)
        num_features = widths[-1] * BOTTOM**2
        super().__init__(num_features, num_features, latent_dim, config.stochastic)
        self.convs = _down(spec.channels, widths)
        self.norms = nn.ModuleList(nn.Identity() if i == 0 else NORMS[config.norm](width) for i, width in enumerate(widths))
        _initialize(self)
        self.reset_spread()

    def features(self, images: Tensor) -> Tensor:
        h = images
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = F.leaky_relu(norm(conv(h)), SLOPE)
        return h.flatten(1)


class ImageFeatures(nn.Module):
    """The convolutions of both discriminators. Subclasses add what reads the features, then call `finish`."""

    def __init__(self, channels: int, spec: ImageSpec) -> None:
        super().__init__()
        widths = _widths(channels, spec)
        self.num_features = widths[-1] * BOTTOM**2
        self.convs = _down(spec.channels, widths)

    def finish(self, normalise: bool) -> None:
        """Draw the weights, once all layers are there."""
        init.initialize(self, "orthogonal")
        if normalise:
            spectral_norm.apply(self, (nn.Conv2d, nn.Linear))

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] to (B, num_features)."""
        h = images
        for conv in self.convs:
            h = F.leaky_relu(conv(h), SLOPE)
        return h.flatten(1)


class Discriminator(ImageFeatures):
    """Images to scores.

    Args:
        config: the architecture.
        spec: size and channels of the images, which have no classes.
    """

    def __init__(self, config: DiscriminatorConfig, spec: ImageSpec) -> None:
        super().__init__(config.channels, spec)
        if spec.num_classes:
            raise ConfigError(f"data.num_classes {spec.num_classes}: this discriminator knows no classes; set it to 0, or take biggan")
        self.linear = nn.Linear(self.num_features, 1)
        self.finish(config.spectral_norm)

    def forward(self, images: Tensor, y: None = None) -> Tensor:
        """images: (B, C, H, W) in [-1, 1]. Returns (B,) scores, before any sigmoid."""
        return self.score(self.features(images))

    def score(self, features: Tensor) -> Tensor:
        """(B,) scores of images whose (B, num_features) features are known."""
        return self.linear(features).squeeze(1)


class JointDiscriminator(ImageFeatures):
    """Pairs of image and latent vector to scores.

    Args:
        config: the architecture.
        spec: size and channels of the images.
        latent_dim: length of z.
        scores: which are wanted, of "xz" (the pair), "x" and "z" (each alone).
    """

    def __init__(self, config: JointDiscriminatorConfig, spec: ImageSpec, latent_dim: int, scores: Sequence[str]) -> None:
        super().__init__(config.channels, spec)
        self.scores = JointScores(self.num_features, latent_dim, config.mlp_width, config.mlp_blocks, scores)
        self.finish(config.spectral_norm)

    def forward(self, images: Tensor, z: Tensor) -> dict[str, Tensor]:
        """images: (B, C, H, W) in [-1, 1]; z: (B, latent_dim). Returns a (B,) score by name, before any sigmoid."""
        return self.scores(self.features(images), z)


def _widths(channels: int, spec: ImageSpec) -> list[int]:
    """The width after each halving, down to 4x4."""
    num_halvings = int(math.log2(spec.resolution / BOTTOM)) if spec.resolution > BOTTOM else 0
    if num_halvings < 2 or BOTTOM * 2**num_halvings != spec.resolution:
        raise ConfigError(f"data.resolution {spec.resolution}: these networks are defined for 16, 32, 64, 128, ...")
    if channels < 1:
        raise ConfigError(f"channels {channels} must be at least 1")
    return [channels * 2**i for i in range(num_halvings)]


def _down(channels: int, widths: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in itertools.pairwise([channels, *widths]))


def _initialize(network: nn.Module) -> None:
    """N(0, 0.02) as in DCGAN; torch's defaults for the biases and norms."""
    init.initialize(network, "normal")
    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d):
            init.STYLES["normal"](module.weight)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
