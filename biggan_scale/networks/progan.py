"""Progressive growing of GANs: generator and discriminator for images of 4 * 2^k px (Karras et al. 2018, 1710.10196, table 2).

Widths are min(channel_base / resolution, channel_max). With 16384 and 512 at 1024 px these are the paper's 23.1 M parameters each.

G: z (and the embedded label) of length 1 in mean square -> fully connected -> 4x4 -> 3x3 convolution -> per doubling: nearest-neighbour
   upsampling, two 3x3 convolutions. Leaky ReLU and pixel norm after each. An RGB layer, 1x1 and linear, at every resolution.
D: the mirror image: RGB in, per halving two 3x3 convolutions and average pooling -> minibatch standard deviation -> 3x3 convolution ->
   two fully connected layers -> score; with labels + <features, embedding> / sqrt(their number) (Miyato & Koyama 2018, 1802.05637)

All blocks exist from the start; `growth` says how many of them play. At 2.3 the first two do, and the third has come in by 30 %:

    G: image = lerp(upsample(rgb_2(h_2)), rgb_3(h_3), 0.3)        D: h_2 = lerp(from_rgb_2(pool(x)), block_3(from_rgb_3(x)), 0.3)

What does not play has no gradient, so on several ranks only a game with partial moves can train these networks.

Where this differs from the paper: the gain sqrt(2) of He's constant is applied after the bias, with the leaky ReLU, which lets biases
learn 1.4 times as fast; the deviation is taken over `mbstd_group` images (the authors' later code: 4), which no number of ranks changes.
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
from biggan_scale.nn.equalized import EqualizedConv2d, EqualizedLinear, leaky_relu, normalize_second_moment
from biggan_scale.nn.minibatch_std import MinibatchStd

BOTTOM = 4  # px that G starts from and D ends at


@dataclass(frozen=True)
class GeneratorConfig:
    channel_base: int = 16384  # width at 1 px; a layer at R px has channel_base / R channels
    channel_max: int = 512  # but at most so many

    TINY: ClassVar = {"channel_base": 128, "channel_max": 8}

    def __post_init__(self) -> None:
        if min(self.channel_base, self.channel_max) < 1:
            raise ValueError("channel_base and channel_max must be at least 1")


@dataclass(frozen=True)
class DiscriminatorConfig:
    channel_base: int = 16384  # width at 1 px; a layer at R px has channel_base / R channels
    channel_max: int = 512  # but at most so many
    mbstd_group: int = 4  # images whose standard deviation is a feature; micro-batches are a multiple of it. 1: left out

    TINY: ClassVar = {"channel_base": 128, "channel_max": 8, "mbstd_group": 2}

    def __post_init__(self) -> None:
        if min(self.channel_base, self.channel_max, self.mbstd_group) < 1:
            raise ValueError("channel_base, channel_max and mbstd_group must be at least 1")


class Growing(nn.Module):
    """A network of which the first so many blocks play. As built all of them do; `grow` says otherwise.

    Attributes:
        growth: a scalar buffer, 0 (the smallest resolution alone) to num_blocks; so what is saved is drawn as it was.
        level: the blocks that play, the one that is coming in among them.
        is_fading: whether the last of them is still coming in.
    """

    growth: Tensor

    def __init__(self, num_blocks: int) -> None:
        super().__init__()
        self.num_blocks = self.level = num_blocks
        self.is_fading = False
        self.register_buffer("growth", torch.tensor(float(num_blocks)))
        self.register_load_state_dict_post_hook(_read_growth)

    def grow(self, growth: float) -> None:
        """From now on so many blocks play."""
        self.growth.fill_(growth)
        self.level = math.ceil(growth)
        self.is_fading = self.level != growth

    @property
    def size(self) -> int:
        """Side in px of the images at this level."""
        return BOTTOM * 2**self.level

    def blend(self, without: Tensor, with_it: Tensor) -> Tensor:
        """Between what there would be without the block that is coming in, and with it."""
        share = (self.growth - (self.level - 1)).clamp(0, 1)  # an averaged growth may be a level behind
        return torch.lerp(without, with_it, share.to(with_it.dtype))


def _read_growth(network: nn.Module, _keys: object) -> None:
    """After loading: the numbers that go with the buffer."""
    assert isinstance(network, Growing), "it is a hook of Growing alone"
    network.grow(float(network.growth))


class GeneratorBlock(nn.Module):
    """(B, C, h, h) to (B, C', 2h, 2h)."""

    def __init__(self, below: int, width: int) -> None:
        super().__init__()
        self.first = EqualizedConv2d(below, width, 3)
        self.second = EqualizedConv2d(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return _activated(self.second(_activated(self.first(enlarge(x, 2 * x.shape[2])))))


class DiscriminatorBlock(nn.Module):
    """(B, C', 2h, 2h) to (B, C, h, h)."""

    def __init__(self, below: int, width: int) -> None:
        super().__init__()
        self.first = EqualizedConv2d(width, width, 3)
        self.second = EqualizedConv2d(width, below, 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(leaky_relu(self.second(leaky_relu(self.first(x)))), 2)


class Generator(Growing):
    """Latent vectors (and labels) to images.

    Args:
        config: the widths.
        spec: size, channels and classes of the images.
        latent_dim: length of z.
    """

    def __init__(self, config: GeneratorConfig, spec: ImageSpec, latent_dim: int) -> None:
        widths = _widths(spec, config.channel_base, config.channel_max)
        super().__init__(len(widths) - 1)
        self.full_size = spec.resolution
        self.num_classes = spec.num_classes
        self.embed = EqualizedLinear(spec.num_classes, latent_dim) if spec.num_classes else None
        self.linear = EqualizedLinear(latent_dim * (2 if spec.num_classes else 1), widths[0] * BOTTOM**2)
        self.conv = EqualizedConv2d(widths[0], widths[0], 3)
        self.blocks = nn.ModuleList(GeneratorBlock(below, width) for below, width in itertools.pairwise(widths))
        self.to_rgb = nn.ModuleList(EqualizedConv2d(width, spec.channels, 1) for width in widths)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Images (B, C, H, W) of the full size, about [-1, 1]; pixels are repeated where not all blocks play.

        Args:
            z: (B, latent_dim). y: (B,) int64, None without classes.
        """
        return enlarge(self.images(z, y), self.full_size)

    def images(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """The same of the size that has been reached, (B, C, size, size)."""
        if self.embed is not None:
            assert y is not None, "a conditional generator needs labels"
            embedded = self.embed(F.one_hot(y, self.num_classes).to(self.embed.weight.dtype))
            z = torch.cat([z, embedded.to(z.dtype)], dim=1)
        h = self.linear(normalize_second_moment(z)).unflatten(1, (-1, BOTTOM, BOTTOM))
        h = _activated(self.conv(_activated(h)))
        below = h
        for number in range(self.level):
            below, h = h, self.blocks[number](h)
        image = self.to_rgb[self.level](h)
        return self.blend(enlarge(self.to_rgb[self.level - 1](below), self.size), image) if self.is_fading else image


class Discriminator(Growing):
    """Images (and labels) to scores.

    Args:
        config: the widths.
        spec: size, channels and classes of the images.
    """

    def __init__(self, config: DiscriminatorConfig, spec: ImageSpec) -> None:
        widths = _widths(spec, config.channel_base, config.channel_max)
        super().__init__(len(widths) - 1)
        self.num_classes = spec.num_classes
        self.from_rgb = nn.ModuleList(EqualizedConv2d(spec.channels, width, 1) for width in widths)
        self.blocks = nn.ModuleList(DiscriminatorBlock(below, width) for below, width in itertools.pairwise(widths))
        self.mbstd = MinibatchStd(config.mbstd_group) if config.mbstd_group > 1 else None
        self.conv = EqualizedConv2d(widths[0] + (self.mbstd is not None), widths[0], 3)
        self.linear = EqualizedLinear(widths[0] * BOTTOM**2, widths[0])
        self.output = EqualizedLinear(widths[0], 1)
        self.embed = EqualizedLinear(spec.num_classes, widths[0]) if spec.num_classes else None

    def forward(self, images: Tensor, y: Tensor | None = None) -> Tensor:
        """images: (B, C, size, size) in [-1, 1]; y: (B,) int64, None without classes. Returns (B,) scores, before any sigmoid."""
        h = leaky_relu(self.from_rgb[self.level](images))
        for number in range(self.level, 0, -1):
            h = self.blocks[number - 1](h)
            if number == self.level and self.is_fading:
                h = self.blend(leaky_relu(self.from_rgb[number - 1](F.avg_pool2d(images, 2))), h)
        if self.mbstd is not None:
            h = self.mbstd(h)
        h = leaky_relu(self.conv(h))
        h = leaky_relu(self.linear(h.flatten(1)))
        score = self.output(h).squeeze(1)
        if self.embed is None:
            return score
        assert y is not None, "a conditional discriminator needs labels"
        label = self.embed(F.one_hot(y, self.num_classes).to(self.embed.weight.dtype))
        return score + (h * label).sum(1) / math.sqrt(h.shape[1])


def enlarge(images: Tensor, size: int) -> Tensor:
    """(B, C, h, h) to (B, C, size, size), every pixel repeated."""
    return images if images.shape[2] == size else F.interpolate(images, size=(size, size), mode="nearest")


def _activated(x: Tensor) -> Tensor:
    """Leaky ReLU, then pixel norm: the C values of each pixel to mean square 1 (section 4.2)."""
    return normalize_second_moment(leaky_relu(x))


def _widths(spec: ImageSpec, base: int, largest: int) -> list[int]:
    """Channels at every resolution from the smallest."""
    doublings = round(math.log2(max(spec.resolution, BOTTOM) / BOTTOM))
    if spec.resolution != BOTTOM * 2**doublings:
        raise ConfigError(f"data.resolution {spec.resolution}: ProGAN doubles {BOTTOM} px; allowed: 4, 8, 16, 32, ...")
    return [max(min(base // (BOTTOM * 2**i), largest), 1) for i in range(doublings + 1)]
