"""BigBiGAN's networks for square images of 32 to 256 px (Donahue & Simonyan 2019, 1907.02544, section 2 and appendix A).

G: BigGAN's with a single class, to which all images belong.
E: a residual network of bottleneck blocks, (3, 4, 6, 3) in four stages as in ResNet-50 (He et al. 2016, 1512.03385 and 1603.05027),
   average pooling, a residual perceptron, mean and standard deviation of z. `reversible`: behind the first block of a stage come
   reversible ones (Gomez et al. 2017, 1707.04585), and `width` 4 makes it the paper's RevNet-50 x4.
D: F, BigGAN's convolutions on x; H, a residual perceptron on z; J, one on both; a linear score of each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biggan_scale.config import ConfigError, ImageSpec
from biggan_scale.networks import biggan
from biggan_scale.networks.biggan import DiscriminatorConfig as BigGanDiscriminatorConfig
from biggan_scale.networks.biggan import GeneratorConfig as BigGanGeneratorConfig
from biggan_scale.nn import init, posterior
from biggan_scale.nn.joint_scores import JointScores
from biggan_scale.nn.norms import NORMS
from biggan_scale.nn.residual_mlp import ResidualMlp
from biggan_scale.nn.reversible import ReversibleBlock, ReversibleStack

EXPANSION = 4  # a bottleneck's outer width over its inner one
LARGE = 128  # px: from here on the stem quarters the image, as ResNet's does at 224

Norm = Callable[[int], nn.Module]  # of a number of channels


@dataclass(frozen=True)
class GeneratorConfig(BigGanGeneratorConfig):
    TINY: ClassVar = {"channels": 2, "attention": (), "shared_dim": 8}


@dataclass(frozen=True)
class EncoderConfig:
    channels: int = 64  # inner width of the first stage's blocks; doubles with each stage
    width: int = 1  # multiplies all widths (the paper: 1, 2 and 4)
    blocks: tuple[int, ...] = (3, 4, 6, 3)  # in each stage; (3, 4, 6, 3) is ResNet-50
    reversible: bool = False  # RevNet: activation memory does not grow with the number of blocks
    norm: Literal["batch", "group", "none"] = "batch"  # before each convolution
    mlp_width: int = 4096  # of the residual perceptron behind the pooling
    mlp_blocks: int = 2  # of two layers each
    stochastic: bool = True  # q(z | x) with a standard deviation; false: a point

    TINY: ClassVar = {"channels": 2, "width": 1, "blocks": (2, 1), "mlp_width": 8, "mlp_blocks": 1}

    def __post_init__(self) -> None:
        if min(self.channels, self.width) < 1:
            raise ConfigError(f"channels {self.channels} and width {self.width} must be at least 1")
        if not self.blocks or min(self.blocks) < 1:
            raise ConfigError(f"blocks {list(self.blocks)}: at least one stage, each with at least one block")


@dataclass(frozen=True)
class JointDiscriminatorConfig(BigGanDiscriminatorConfig):
    mlp_width: int = 2048  # of H and J
    mlp_blocks: int = 4  # of two layers each, in H and in J

    TINY: ClassVar = {"channels": 2, "attention": (), "mlp_width": 8, "mlp_blocks": 1}


class Generator(biggan.Generator):
    """BigGAN's G(z) with one learned class embedding for all images."""

    def __init__(self, config: GeneratorConfig, spec: ImageSpec, latent_dim: int) -> None:
        super().__init__(config, dataclasses.replace(spec, num_classes=1), latent_dim)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """z: (B, latent_dim); y is not used. Returns (B, C, H, W) in [-1, 1]."""
        return super().forward(z, torch.zeros(len(z), dtype=torch.int64, device=z.device))


class Encoder(posterior.Encoder):
    """Images to latent vectors; its features are the average-pooled output of the residual network.

    Args:
        config: the architecture.
        spec: size and channels of the images.
        latent_dim: length of z.
    """

    def __init__(self, config: EncoderConfig, spec: ImageSpec, latent_dim: int) -> None:
        inner = config.channels * config.width
        widths = [EXPANSION * inner * 2**i for i in range(len(config.blocks))]
        super().__init__(widths[-1], config.mlp_width, latent_dim, config.stochastic)
        norm, stage = NORMS[config.norm], _reversible_stage if config.reversible else _stage
        self.stem = _stem(spec, inner, len(config.blocks))
        self.stages = nn.ModuleList(
            stage(before, after, blocks, 1 if i == 0 else 2, norm)
            for i, (before, after, blocks) in enumerate(zip([inner, *widths], widths, config.blocks, strict=False))
        )
        self.norm = norm(widths[-1])
        self.mlp = ResidualMlp(widths[-1], config.mlp_width, config.mlp_blocks)
        init.initialize(self, "orthogonal")
        self.reset_spread()

    def features(self, images: Tensor) -> Tensor:
        h = self.stem(images)
        for stage in self.stages:
            h = stage(h)  # (B, C, H, W) to (B, C', H / 2, W / 2), the first stage apart
        return F.relu(self.norm(h)).mean((2, 3))

    def hidden(self, features: Tensor) -> Tensor:
        return self.mlp(features)


class JointDiscriminator(biggan.ImageFeatures):
    """Pairs of image and latent vector to scores.

    Args:
        config: the architecture.
        spec: size and channels of the images.
        latent_dim: length of z.
        scores: which are wanted, of "xz" (the pair), "x" and "z" (each alone).
    """

    def __init__(self, config: JointDiscriminatorConfig, spec: ImageSpec, latent_dim: int, scores: Sequence[str]) -> None:
        super().__init__(config, spec)
        self.scores = JointScores(self.num_features, latent_dim, config.mlp_width, config.mlp_blocks, scores)
        self.finish()

    def forward(self, images: Tensor, z: Tensor) -> dict[str, Tensor]:
        """images: (B, C, H, W) in [-1, 1]; z: (B, latent_dim). Returns a (B,) score by name, before any sigmoid."""
        return self.scores(self.features(images), z)


class ResidualFunction(nn.Module):
    """A bottleneck, norm and activation first: 1x1 to `inner` channels, 3x3, 1x1 (He et al. 2016, 1603.05027)."""

    def __init__(self, channels: int, inner: int, out_channels: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.norms = nn.ModuleList(norm(width) for width in (channels, inner, inner))
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(channels, inner, 1, bias=False),
                nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False),
                nn.Conv2d(inner, out_channels, 1, bias=False),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = conv(F.relu(norm(x)))
        return x


class ResidualBlock(nn.Module):
    """x + residual(x), where shapes differ with a 1x1 convolution in place of x."""

    def __init__(self, channels: int, out_channels: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.residual = ResidualFunction(channels, out_channels // EXPANSION, out_channels, stride, norm)
        learned = channels != out_channels or stride > 1
        self.shortcut = nn.Conv2d(channels, out_channels, 1, stride, bias=False) if learned else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.residual(x)


def _stage(channels: int, out_channels: int, num_blocks: int, stride: int, norm: Norm) -> nn.Module:
    first = ResidualBlock(channels, out_channels, stride, norm)
    return nn.Sequential(first, *(ResidualBlock(out_channels, out_channels, 1, norm) for _ in range(num_blocks - 1)))


def _reversible_stage(channels: int, out_channels: int, num_blocks: int, stride: int, norm: Norm) -> nn.Module:
    """The first block changes the shape, which cannot be undone; the others work on halves of the channels."""
    half = out_channels // 2

    def function() -> ResidualFunction:
        return ResidualFunction(half, half // EXPANSION, half, 1, norm)

    first = ResidualBlock(channels, out_channels, stride, norm)
    return nn.Sequential(first, ReversibleStack([ReversibleBlock(function(), function()) for _ in range(num_blocks - 1)]))


def _stem(spec: ImageSpec, channels: int, num_stages: int) -> nn.Module:
    """ResNet's from 128 px on, which quarters the image; below, a convolution with the stride that lets the last stage be at 4x4."""
    if spec.resolution >= LARGE:
        return nn.Sequential(nn.Conv2d(spec.channels, channels, 7, 2, padding=3, bias=False), nn.MaxPool2d(3, 2, padding=1))
    stride = max(spec.resolution // (4 * 2 ** (num_stages - 1)), 1)
    size, padding = (3, 1) if stride <= 2 else (stride, 0)  # a 3x3 would pass over pixels
    return nn.Conv2d(spec.channels, channels, size, stride, padding, bias=False)
