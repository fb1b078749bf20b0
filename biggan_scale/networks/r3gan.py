"""R3GAN's generator and discriminator, without norms and tricks (Huang et al. 2024, 2501.05441, section 4 and appendix).

Residual blocks as in ResNeXt, between resamplings by [1, 2, 1] behind doubled pixels, which is [1, 3, 3, 1]; G and D mirror each other.
Widths are min(channel_base / resolution, channel_max): 24576 and 768 are the paper's at 32 to 256 px.

block: 1x1 to `expansion` times the width -> bias, leaky ReLU -> 3x3 in groups of 16 -> bias, leaky ReLU -> 1x1 -> added
G: z and the embedded label -> linear -> times a learnt 4x4 basis -> blocks -> [1x1 where the width changes, upsampling, blocks] -> RGB, 1x1
D: 1x1 -> [blocks, downsampling, 1x1 where the width changes] -> blocks -> 4x4 depthwise -> linear -> score = <that, embed(y)>

Without norms the start decides (Fixup; Zhang et al. 2019, 1901.09321): the last convolution of a block begins at 0, the two before it
with a variance that falls with the number of blocks L, as L^-1/4 in the standard deviation.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biggan_scale.config import ConfigError, ImageSpec
from biggan_scale.nn.resample_fir import Fir

BOTTOM = 4  # G starts from 4x4
SLOPE = 0.2  # of the leaky ReLU
GAIN = math.sqrt(2 / (1 + SLOPE**2))  # keeps the second moment through one (He et al. 2015, 1502.01852)


@dataclass(frozen=True)
class _Config:
    channel_base: int = 24576  # width at 1 px; a layer at R px has channel_base / R channels
    channel_max: int = 768  # but at most so many
    blocks: int = 2  # residual blocks at each resolution
    expansion: int = 2  # a block is so many times wider inside
    group: int = 16  # channels that a group of the 3x3 convolutions has

    TINY: ClassVar = {"channel_base": 256, "channel_max": 16, "blocks": 1}

    def __post_init__(self) -> None:
        if min(self.channel_base, self.channel_max, self.blocks, self.expansion, self.group) < 1:
            raise ValueError("channel_base, channel_max, blocks, expansion and group must be at least 1")


@dataclass(frozen=True)
class GeneratorConfig(_Config):
    embed_dim: int = 64  # length of the embedded label


@dataclass(frozen=True)
class DiscriminatorConfig(_Config):
    pass


class Block(nn.Module):
    """(B, C, H, W) to the same; the identity at first."""

    def __init__(self, channels: int, config: _Config, num_blocks: int) -> None:
        super().__init__()
        inner = channels * config.expansion
        if inner % config.group:
            raise ConfigError(f"{inner} channels (width {channels} times expansion) do not divide into groups of {config.group} (group)")
        self.widen = _conv(channels, inner, gain=GAIN * num_blocks**-0.25, bias=True)
        self.mix = _conv(inner, inner, 3, groups=inner // config.group, gain=GAIN * num_blocks**-0.25, bias=True)
        self.narrow = _conv(inner, channels, gain=0)

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.widen(x), SLOPE)
        return x + self.narrow(F.leaky_relu(self.mix(h), SLOPE))


class Generator(nn.Module):
    """Latent vectors (and labels) to images.

    Args:
        config: the architecture.
        spec: size, channels and classes of the images.
        latent_dim: length of z.
    """

    def __init__(self, config: GeneratorConfig, spec: ImageSpec, latent_dim: int) -> None:
        super().__init__()
        widths = _widths(config, spec)[::-1]  # from 4x4 up
        self.embed = _embedding(spec.num_classes, config.embed_dim) if spec.num_classes else None
        self.linear = _linear(latent_dim + (config.embed_dim if spec.num_classes else 0), widths[0])
        self.basis = nn.Parameter(torch.randn(widths[0], BOTTOM, BOTTOM))
        self.stages = _stages(widths, config)
        self.narrow = _changes(widths)
        self.fir = Fir()
        self.output = _conv(widths[-1], spec.channels)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """z: (B, latent_dim); y: (B,) int64, None without classes. Returns (B, C, H, W), about in [-1, 1]."""
        z = z if self.embed is None else torch.cat([z, self.embed(y)], dim=1)
        h = self.stages[0](self.basis * self.linear(z)[:, :, None, None])  # (B, C, 4, 4)
        for change, stage in zip(self.narrow, self.stages[1:], strict=True):
            h = stage(self.fir.upsample(change(h)))
        return self.output(h)


class Discriminator(nn.Module):
    """Images (and labels) to scores.

    Args:
        config: the architecture.
        spec: size, channels and classes of the images.
    """

    def __init__(self, config: DiscriminatorConfig, spec: ImageSpec) -> None:
        super().__init__()
        widths = _widths(config, spec)  # down to 4x4
        self.input = _conv(spec.channels, widths[0])
        self.stages = _stages(widths, config)
        self.widen = _changes(widths)
        self.fir = Fir()
        self.basis = _started(nn.Conv2d(widths[-1], widths[-1], BOTTOM, groups=widths[-1], bias=False))
        length = widths[0] if spec.num_classes else 1
        self.linear = _linear(widths[-1], length)
        self.embed = _embedding(spec.num_classes, length, gain=length**-0.5) if spec.num_classes else None

    def forward(self, images: Tensor, y: Tensor | None = None) -> Tensor:
        """images: (B, C, H, W) in [-1, 1]; y: (B,) int64, None without classes. Returns (B,) scores, before any sigmoid."""
        features = self.linear(self.features(images))
        return features.squeeze(1) if self.embed is None else (features * self.embed(y)).sum(1)

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] to (B, F): what the score is read from."""
        h = self.input(images)
        for stage, change in zip(self.stages[:-1], self.widen, strict=True):
            h = change(self.fir.downsample(stage(h)))
        return self.basis(self.stages[-1](h)).flatten(1)


def _widths(config: _Config, spec: ImageSpec) -> list[int]:
    """At each resolution, from the images' down to 4x4."""
    halvings = round(math.log2(spec.resolution / BOTTOM))
    if halvings < 1 or BOTTOM * 2**halvings != spec.resolution:
        raise ConfigError(f"data.resolution {spec.resolution}: R3GAN's networks are defined for 8, 16, 32, 64, ...")
    return [max(min(config.channel_base // (spec.resolution // 2**i), config.channel_max), 1) for i in range(halvings + 1)]


def _stages(widths: list[int], config: _Config) -> nn.ModuleList:
    num_blocks = config.blocks * len(widths)
    return nn.ModuleList(nn.Sequential(*(Block(width, config, num_blocks) for _ in range(config.blocks))) for width in widths)


def _changes(widths: list[int]) -> nn.ModuleList:
    return nn.ModuleList(nn.Identity() if a == b else _conv(a, b) for a, b in itertools.pairwise(widths))


def _conv(before: int, after: int, size: int = 1, groups: int = 1, gain: float = 1.0, *, bias: bool = False) -> nn.Module:
    return _started(nn.Conv2d(before, after, size, padding=size // 2, groups=groups, bias=bias), gain)


def _linear(before: int, after: int) -> nn.Module:
    return _started(nn.Linear(before, after, bias=False))


def _started(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> nn.Module:
    """With weights of N(0, gain^2 / fan in), and biases of 0."""
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _embedding(num_classes: int, length: int, gain: float = 1.0) -> nn.Embedding:
    """Started as the linear layer of a one-hot vector that it is."""
    embedding = nn.Embedding(num_classes, length)
    nn.init.normal_(embedding.weight, std=gain / math.sqrt(num_classes))
    return embedding
