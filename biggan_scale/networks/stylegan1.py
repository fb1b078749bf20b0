"""StyleGAN: a generator that w styles layer by layer, by adaptive instance normalisation (Karras et al. 2019, 1812.04948).

Its discriminator is ProGAN's with filtered downsampling: StyleGAN2's with `architecture: orig`. Widths are
min(channel_base / resolution, channel_max); with 16384 and 512 at 1024 px these are the paper's 26.2 M and 23.1 M parameters.

mapping: z and the embedded label, each normalised -> fully connected layers -> w
synthesis: a learnt 4x4 constant -> per resolution two layers, the first with a 3x3 convolution that doubles the size (but for 4x4, where
   the constant takes its place), the second with a plain one; in each then noise with a strength per channel, bias, leaky ReLU, AdaIN
   -> RGB, 1x1 and linear, of the last resolution

One w a layer. Where this differs from the paper: nothing is grown, all resolutions learn from the start, as 1912.04958 has it. Doubling
pixels followed by its binomial filter [1, 2, 1] is here the one filter [1, 3, 3, 1] on inserted zeros, which is the same but for the
border. The constant begins as N(0, 1), as 1912.04958 has it, and not as ones: AdaIN leaves nothing of equal pixels, and what the first
layer's bias then gets for a gradient is rounding, from which Adam makes steps that depend on the number of ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from biggan_scale.config import ImageSpec
from biggan_scale.networks.style import StyleGenerator, sizes_from, widths_of
from biggan_scale.nn.adain import AdaIn
from biggan_scale.nn.equalized import EqualizedConv2d, leaky_relu
from biggan_scale.nn.fir_conv import upsample_conv2d
from biggan_scale.nn.pixel_noise import PixelNoise
from biggan_scale.nn.resample_fir import Fir


@dataclass(frozen=True)
class GeneratorConfig:
    w_dim: int = 512  # length of w
    mapping_layers: int = 8  # fully connected layers from z to w
    mapping_lr: float = 0.01  # their learning rate, as a multiple of the rest's
    channel_base: int = 16384  # width at 1 px; a layer at R px has channel_base / R channels
    channel_max: int = 512  # but at most so many

    TINY: ClassVar = {"w_dim": 8, "mapping_layers": 2, "channel_base": 128, "channel_max": 8}

    def __post_init__(self) -> None:
        if min(self.w_dim, self.mapping_layers, self.channel_base, self.channel_max) < 1:
            raise ValueError("w_dim, mapping_layers, channel_base and channel_max must be at least 1")


class Epilogue(nn.Module):
    """What follows a convolution, or the constant: noise, bias, leaky ReLU, style."""

    def __init__(self, channels: int, size: tuple[int, int], w_dim: int) -> None:
        super().__init__()
        self.noise = PixelNoise(*size, channels)
        self.bias = nn.Parameter(torch.zeros(channels))
        self.adain = AdaIn(w_dim, channels)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        h = self.noise(x, noise) + self.bias[:, None, None].to(x.dtype)
        return self.adain(leaky_relu(h), w)


class SynthesisBlock(nn.Module):
    """One resolution: (B, C, H, W) to (B, C', 2H, 2W)."""

    def __init__(self, in_channels: int, out_channels: int, size: tuple[int, int], w_dim: int) -> None:
        super().__init__()
        self.conv0 = EqualizedConv2d(in_channels, out_channels, 3, bias=False)
        self.epilogue0 = Epilogue(out_channels, size, w_dim)
        self.conv1 = EqualizedConv2d(out_channels, out_channels, 3, bias=False)
        self.epilogue1 = Epilogue(out_channels, size, w_dim)
        self.fir = Fir()

    def forward(self, x: Tensor, ws: Tensor, noise: tuple[Tensor | None, Tensor | None]) -> Tensor:
        """ws: (B, 2, w_dim)."""
        h = self.epilogue0(upsample_conv2d(x, self.conv0.kernel, self.fir), ws[:, 0], noise[0])
        return self.epilogue1(self.conv1(h), ws[:, 1], noise[1])


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
        self.num_ws = 2 * len(sizes)
        self.constant = nn.Parameter(torch.randn(widths[0], *sizes[0]))
        self.epilogue0 = Epilogue(widths[0], sizes[0], config.w_dim)
        self.conv1 = EqualizedConv2d(widths[0], widths[0], 3, bias=False)
        self.epilogue1 = Epilogue(widths[0], sizes[0], config.w_dim)
        self.blocks = nn.ModuleList(SynthesisBlock(widths[i - 1], widths[i], sizes[i], config.w_dim) for i in range(1, len(sizes)))
        self.to_rgb = EqualizedConv2d(widths[-1], spec.channels, 1)
        self.noise_sizes = [module.num_values for module in self.modules() if isinstance(module, PixelNoise)]

    def forward(self, ws: Tensor, noise: Tensor | None = None) -> Tensor:
        """ws: (B, num_ws, w_dim); noise: (B, num_noise), None for the constant images. Returns (B, C, H, W)."""
        noises = noise.split(self.noise_sizes, dim=1) if noise is not None else [None] * self.num_ws
        h = self.epilogue0(self.constant.expand(ws.shape[0], -1, -1, -1), ws[:, 0], noises[0])
        h = self.epilogue1(self.conv1(h), ws[:, 1], noises[1])
        for i, block in enumerate(self.blocks, start=1):
            h = block(h, ws[:, 2 * i : 2 * i + 2], (noises[2 * i], noises[2 * i + 1]))
        return self.to_rgb(h)


class Generator(StyleGenerator):
    """Latent vectors (and labels) to images; see `StyleGenerator`."""

    SYNTHESIS = Synthesis
    config: GeneratorConfig
