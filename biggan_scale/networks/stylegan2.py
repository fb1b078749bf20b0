"""StyleGAN2: generator and discriminator for images of 4 * 2^k px (Karras et al. 2020, 1912.04958), as in its ADA version (2006.06676).

Widths are min(channel_base / resolution, channel_max). With 32768 and 512 at 1024 px these are the paper's 30 M and 29 M parameters.

G: mapping: z and the embedded label, each normalised -> fully connected layers -> w
   synthesis: a learnt 4x4 constant -> per resolution: two modulated 3x3 convolutions with pixel noise, the first doubling the size;
   the image is the sum of every resolution's RGB, upsampled ("skip"), or the last resolution's ("orig", "resnet")
D: residual blocks that halve the size ("resnet"), or plain ones ("orig"), or ones that are also fed the image at their size ("skip")
   -> minibatch standard deviation -> 3x3 convolution -> two fully connected layers -> score; with labels
   score = <features, mapping(label)> / sqrt(their number)      (projection, Miyato & Koyama 2018, 1802.05637)

One w drives a modulated convolution; where a resolution has an RGB layer, it shares the w of the next resolution's first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from biggan_scale.config import ImageSpec
from biggan_scale.networks.style import Mapping, StyleGenerator, sizes_from, widths_of
from biggan_scale.nn.equalized import EqualizedConv2d, EqualizedLinear, leaky_relu
from biggan_scale.nn.fir_conv import downsample_conv2d
from biggan_scale.nn.minibatch_std import MinibatchStd
from biggan_scale.nn.modulated_conv import modulated_conv2d
from biggan_scale.nn.pixel_noise import PixelNoise
from biggan_scale.nn.resample_fir import Fir

HALF = math.sqrt(0.5)  # gain of both branches of a residual block, whose sum then keeps its variance


@dataclass(frozen=True)
class GeneratorConfig:
    w_dim: int = 512  # length of w
    mapping_layers: int = 8  # fully connected layers from z to w (ADA's small configurations: 2)
    mapping_lr: float = 0.01  # their learning rate, as a multiple of the rest's
    channel_base: int = 32768  # width at 1 px; a layer at R px has channel_base / R channels
    channel_max: int = 512  # but at most so many
    architecture: Literal["skip", "orig", "resnet"] = "skip"  # how the image leaves the synthesis (the paper: skip)
    conv_clamp: float | None = None  # largest magnitude of activations (with fp16: 256); null: not clamped

    TINY: ClassVar = {"w_dim": 8, "mapping_layers": 2, "channel_base": 128, "channel_max": 8}

    def __post_init__(self) -> None:
        if self.mapping_layers < 1:
            raise ValueError(f"mapping_layers {self.mapping_layers} must be at least 1")
        if min(self.w_dim, self.channel_base, self.channel_max) < 1:
            raise ValueError("w_dim, channel_base and channel_max must be at least 1")
        if self.conv_clamp is not None and self.conv_clamp <= 0:
            raise ValueError(f"conv_clamp {self.conv_clamp} must be above 0, or null")


@dataclass(frozen=True)
class DiscriminatorConfig:
    channel_base: int = 32768  # width at 1 px; a layer at R px has channel_base / R channels
    channel_max: int = 512  # but at most so many
    architecture: Literal["resnet", "orig", "skip"] = "resnet"  # how the image enters (the paper: resnet)
    mbstd_group: int = 4  # images whose standard deviation is a feature; micro-batches are a multiple of it. 1: left out
    label_layers: int = 8  # fully connected layers of a label's mapping
    conv_clamp: float | None = None  # largest magnitude of activations (with fp16: 256); null: not clamped

    TINY: ClassVar = {"channel_base": 128, "channel_max": 8, "mbstd_group": 2, "label_layers": 2}

    def __post_init__(self) -> None:
        if min(self.channel_base, self.channel_max, self.mbstd_group) < 1:
            raise ValueError("channel_base, channel_max and mbstd_group must be at least 1")
        if self.label_layers < 0:
            raise ValueError(f"label_layers {self.label_layers} must be at least 0")
        if self.conv_clamp is not None and self.conv_clamp <= 0:
            raise ValueError(f"conv_clamp {self.conv_clamp} must be above 0, or null")


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, pixel noise, bias, leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int, size: tuple[int, int], w_dim: int, upsample: bool, clamp: float | None) -> None:
        super().__init__()
        self.style = EqualizedLinear(w_dim, in_channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.noise = PixelNoise(*size)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.fir = Fir() if upsample else None
        self.clamp = clamp

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None, gain: float = 1.0) -> Tensor:
        h = modulated_conv2d(x, self.weight, self.style(w), upsample=self.fir)
        h = self.noise(h, noise) + self.bias[:, None, None].to(h.dtype)
        return leaky_relu(h, math.sqrt(2) * gain, None if self.clamp is None else self.clamp * gain)


class ToRgb(nn.Module):
    """Modulated 1x1 convolution without demodulation."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, clamp: float | None) -> None:
        super().__init__()
        self.style = EqualizedLinear(w_dim, in_channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.scale = 1 / math.sqrt(in_channels)
        self.clamp = clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        image = modulated_conv2d(x, self.weight, self.style(w) * self.scale, demodulate=False) + self.bias[:, None, None]
        return image if self.clamp is None else image.clamp(-self.clamp, self.clamp)


class SynthesisBlock(nn.Module):
    """One resolution: features in at half the size, features and image out."""

    def __init__(
        self, in_channels: int, out_channels: int, size: tuple[int, int], image_channels: int | None, config: GeneratorConfig
    ) -> None:
        super().__init__()
        w_dim, clamp = config.w_dim, config.conv_clamp
        self.conv0 = SynthesisLayer(in_channels, out_channels, size, w_dim, True, clamp)
        self.conv1 = SynthesisLayer(out_channels, out_channels, size, w_dim, False, clamp)
        self.shortcut = EqualizedConv2d(in_channels, out_channels, 1, bias=False) if config.architecture == "resnet" else None
        self.to_rgb = ToRgb(out_channels, image_channels, w_dim, clamp) if image_channels else None
        self.fir = Fir()  # of the shortcut and of the image

    def forward(self, x: Tensor, ws: Tensor, noise: tuple[Tensor | None, Tensor | None]) -> Tensor:
        """ws: (B, 2 or more, w_dim), its own first. Returns (B, C', 2H, 2W)."""
        if self.shortcut is None:
            return self.conv1(self.conv0(x, ws[:, 0], noise[0]), ws[:, 1], noise[1])
        straight = self.fir.upsample(self.shortcut(x)) * HALF
        return straight + self.conv1(self.conv0(x, ws[:, 0], noise[0]), ws[:, 1], noise[1], gain=HALF)


class Synthesis(nn.Module):
    """ws and pixel noise to images.

    Args:
        config: the architecture.
        spec: size and channels of the images.
    """

    def __init__(self, config: GeneratorConfig, spec: ImageSpec) -> None:
        super().__init__()
        sizes = sizes_from(spec)
        widths = widths_of(sizes, config.channel_base, config.channel_max)
        skip = config.architecture == "skip"
        self.num_ws = 2 * len(sizes)
        self.constant = nn.Parameter(torch.randn(widths[0], *sizes[0]))
        self.first = SynthesisLayer(widths[0], widths[0], sizes[0], config.w_dim, False, config.conv_clamp)
        self.first_rgb = ToRgb(widths[0], spec.channels, config.w_dim, config.conv_clamp) if skip or len(sizes) == 1 else None
        self.blocks = nn.ModuleList(
            SynthesisBlock(widths[i - 1], widths[i], sizes[i], spec.channels if skip or i == len(sizes) - 1 else None, config)
            for i in range(1, len(sizes))
        )
        self.noise_sizes = [module.num_values for module in self.modules() if isinstance(module, PixelNoise)]

    def forward(self, ws: Tensor, noise: Tensor | None = None) -> Tensor:
        """ws: (B, num_ws, w_dim); noise: (B, num_noise), None for the constant images. Returns (B, C, H, W)."""
        first, *rest = noise.split(self.noise_sizes, dim=1) if noise is not None else [None] * len(self.noise_sizes)
        h = self.first(self.constant.expand(ws.shape[0], -1, -1, -1), ws[:, 0], first)
        image = None if self.first_rgb is None else self.first_rgb(h, ws[:, 1])
        for i, block in enumerate(self.blocks):
            assert isinstance(block, SynthesisBlock)
            h = block(h, ws[:, 2 * i + 1 :], (rest[2 * i], rest[2 * i + 1]))
            if block.to_rgb is not None:
                rgb = block.to_rgb(h, ws[:, 2 * i + 3])
                image = rgb if image is None else block.fir.upsample(image) + rgb
        assert image is not None, "the last block has an RGB layer"
        return image


class Generator(StyleGenerator):
    """Latent vectors (and labels) to images; see `StyleGenerator`."""

    SYNTHESIS = Synthesis
    config: GeneratorConfig


class DiscriminatorBlock(nn.Module):
    """One resolution: [image in,] two 3x3 convolutions, the second halving the size."""

    def __init__(self, in_channels: int, out_channels: int, image_channels: int | None, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.clamp = config.conv_clamp
        self.from_rgb = EqualizedConv2d(image_channels, in_channels, 1) if image_channels else None
        self.conv0 = EqualizedConv2d(in_channels, in_channels, 3)
        self.conv1 = EqualizedConv2d(in_channels, out_channels, 3)
        self.shortcut = EqualizedConv2d(in_channels, out_channels, 1, bias=False) if config.architecture == "resnet" else None
        self.fir = Fir()

    def forward(self, x: Tensor | None, image: Tensor) -> Tensor:
        """x: (B, C, H, W) features, None in the first block; image: (B, 3, H, W), read where `from_rgb` is. Returns (B, C', H/2, W/2)."""
        if self.from_rgb is not None:
            rgb = leaky_relu(self.from_rgb(image), clamp=self.clamp)
            x = rgb if x is None else x + rgb
        assert x is not None, "the first block reads the image"
        h = leaky_relu(self.conv0(x), clamp=self.clamp)
        h = downsample_conv2d(h, self.conv1.kernel, self.conv1.bias, self.fir)
        if self.shortcut is None:
            return leaky_relu(h, clamp=self.clamp)
        straight = downsample_conv2d(x, self.shortcut.kernel, None, self.fir) * HALF
        return straight + leaky_relu(h, math.sqrt(2) * HALF, None if self.clamp is None else self.clamp * HALF)


class Discriminator(nn.Module):
    """Images (and labels) to scores.

    Args:
        config: the architecture.
        spec: size, channels and classes of the images.
    """

    config: DiscriminatorConfig

    def __init__(self, config: DiscriminatorConfig, spec: ImageSpec) -> None:
        super().__init__()
        sizes = sizes_from(spec)
        widths = widths_of(sizes, config.channel_base, config.channel_max)
        self.config = config
        skip = config.architecture == "skip"
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(widths[i], widths[i - 1], spec.channels if skip or i == len(sizes) - 1 else None, config)
            for i in range(len(sizes) - 1, 0, -1)
        )
        width = widths[0]
        self.from_rgb = EqualizedConv2d(spec.channels, width, 1) if skip or len(sizes) == 1 else None
        self.mbstd = MinibatchStd(config.mbstd_group) if config.mbstd_group > 1 else None
        self.conv = EqualizedConv2d(width + (self.mbstd is not None), width, 3)
        self.linear = EqualizedLinear(width * sizes[0][0] * sizes[0][1], width)
        self.output = EqualizedLinear(width, width if spec.num_classes else 1)
        self.mapping = Mapping(0, spec.num_classes, width, config.label_layers, 0.01) if spec.num_classes else None

    def forward(self, images: Tensor, y: Tensor | None = None) -> Tensor:
        """images: (B, C, H, W) in [-1, 1]; y: (B,) int64, None without classes. Returns (B,) scores, before any sigmoid."""
        h, image = None, images
        for block in self.blocks:
            assert isinstance(block, DiscriminatorBlock)
            h = block(h, image)
            if self.config.architecture == "skip":
                image = block.fir.downsample(image)
        if self.from_rgb is not None:
            rgb = leaky_relu(self.from_rgb(image), clamp=self.config.conv_clamp)
            h = rgb if h is None else h + rgb
        assert h is not None, "there is a block, or from_rgb"
        if self.mbstd is not None:
            h = self.mbstd(h)
        h = leaky_relu(self.conv(h), clamp=self.config.conv_clamp)
        h = self.output(leaky_relu(self.linear(h.flatten(1))))
        if self.mapping is None:
            return h.squeeze(1)
        return (h * self.mapping(None, y)).sum(1) / math.sqrt(h.shape[1])
