"""BigGAN-deep: generator and discriminator for square images of 32 to 512 px (Brock et al. 2019, 1809.11096, appendix B, figure 16).

Twice the blocks of BigGAN, each a bottleneck of four convolutions, whose shortcuts drop or add channels instead of having weights for
all; with ch 128 and 128 px, G and D have 50.4 M and 34.6 M parameters. Otherwise as `biggan.py`, but:

G: [embedding of y, z] -> linear -> 4x4 -> two blocks per doubling, of which the second doubles. Every norm is conditioned on all of
   [embedding of y, z]; z is not cut.
D: image -> 3x3 convolution -> two blocks per resolution, of which the first halves -> activation, SUM over positions.

At 32 px, which the paper has not, widths are BigGAN's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from biggan_scale.config import ConfigError, ImageSpec
from biggan_scale.networks import biggan
from biggan_scale.networks.biggan import D_WIDTHS, widths_at
from biggan_scale.networks.biggan import DiscriminatorConfig as BigGanDiscriminatorConfig
from biggan_scale.networks.biggan import GeneratorConfig as BigGanGeneratorConfig
from biggan_scale.nn.residual import DeepDiscriminatorBlock, DeepGeneratorBlock


@dataclass(frozen=True)
class GeneratorConfig(BigGanGeneratorConfig):
    channels: int = 128  # the paper's ch: all widths are multiples of it
    bottleneck: int = 4  # a block's inner width is its input's, divided by this
    depth: int = 2  # blocks at each resolution

    TINY: ClassVar[dict[str, Any]] = {"channels": 4, "shared_dim": 8, "attention": ()}

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.bottleneck, self.depth)
        if not self.hierarchical:
            raise ConfigError("hierarchical: false is not BigGAN-deep, whose norms all take z; use type: biggan")
        if self.upsampling != "nearest":
            raise ConfigError(f"upsampling {self.upsampling} is not BigGAN-deep's, which is nearest")


@dataclass(frozen=True)
class DiscriminatorConfig(BigGanDiscriminatorConfig):
    channels: int = 128  # the paper's ch: all widths are multiples of it
    bottleneck: int = 4  # a block's inner width is its output's, divided by this
    depth: int = 2  # blocks at each resolution

    TINY: ClassVar[dict[str, Any]] = {"channels": 4, "attention": ()}

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.bottleneck, self.depth)
        if not self.wide:
            raise ConfigError("wide: false is not BigGAN-deep, whose blocks are bottlenecks; use type: biggan")


class Generator(biggan.Generator):
    """Latent vectors (and labels) to images.

    Args:
        config: the architecture.
        spec: size, channels and classes of the images.
        latent_dim: length of z.
    """

    config: GeneratorConfig

    def chunk_length(self, latent_dim: int, num_stages: int) -> int:
        return latent_dim

    @property
    def stem_dim(self) -> int:
        return self.vector_dim

    @property
    def depth(self) -> int:
        return self.config.depth

    def block(self, index: int, in_channels: int, out_channels: int, norm: Callable[[int], nn.Module]) -> nn.Module:
        hidden, last = _inner(in_channels, self.config.bottleneck), index % self.depth == self.depth - 1
        return DeepGeneratorBlock(in_channels, hidden, out_channels, norm, self.activation, upsample=last)

    def _conditions(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, list[Tensor | None]]:
        vector = z if condition is None else torch.cat([condition, z], dim=1)  # (B, shared_dim + latent_dim)
        return vector, [vector] * len(self.blocks)


class Discriminator(biggan.Discriminator):
    """Images (and labels) to scores."""

    config: DiscriminatorConfig

    def stage_widths(self, spec: ImageSpec) -> list[int]:
        return widths_at(D_WIDTHS, spec, self.config.channels)  # BigGAN's, of which the first is the stem's

    def make_stem(self, image_channels: int, out_channels: int) -> nn.Module:
        return nn.Conv2d(image_channels, out_channels, 3, padding=1)

    def stage(self, index: int, in_channels: int, out_channels: int, downsample: bool) -> list[nn.Module]:
        hidden, depth = _inner(out_channels, self.config.bottleneck), self.config.depth
        widths = [in_channels] + [out_channels] * depth
        return [
            DeepDiscriminatorBlock(widths[i], hidden, out_channels, self.activation, downsample=downsample and i == 0) for i in range(depth)
        ]


def _check(bottleneck: int, depth: int) -> None:
    if min(bottleneck, depth) < 1:
        raise ConfigError(f"bottleneck {bottleneck} and depth {depth} must be at least 1")


def _inner(channels: int, bottleneck: int) -> int:
    return max(channels // bottleneck, 1)
