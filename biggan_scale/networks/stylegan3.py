"""StyleGAN3: a generator whose details move with what they belong to (Karras et al. 2021, 2106.12423). Its discriminator is StyleGAN2's.

Fourier features -> modulated convolutions, each followed by a leaky ReLU that makes no aliases -> RGB. All but the last layers work on a
canvas with a margin. Configuration T follows translations: 3x3 convolutions, filters along the axes. Configuration R follows rotations
too: 1x1 convolutions of twice the width, filters without direction. With the paper's widths at 1024 px, 22.3 M and 15.1 M parameters.

Layer i of N has a cutoff f_c, a stopband from f_t on, a sampling rate s and C channels (section 3.2, "flexible layer specifications"):

    f_c(i) = f_c0 (f_cN / f_c0)^t,   f_t(i) = f_t0 (f_tN / f_t0)^t,   t = min(i / (N - N_crit), 1)
    f_c0 = 2,  f_cN = s_N / 2,   f_t0 = 2^2.1,  f_tN = 2^0.3 s_N / 2
    s(i) = the power of 2 from min(2 f_t, s_N) on,   f_h(i) = max(f_t, s / 2) - f_c: half the width of the transition band
    C(i) = min(channel_base / (2 f_c), channel_max)

in cycles, and samples, per shorter side of the image; s_N is its size. The last N_crit layers are critically sampled: f_c = s / 2.

A layer's input is divided by the root of its running mean square, which is kept as w's mean is: whoever trains feeds it.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from biggan_scale.config import ConfigError, ImageSpec
from biggan_scale.networks.style import StyleGenerator
from biggan_scale.nn.equalized import EqualizedLinear
from biggan_scale.nn.filtered_relu import FilteredLeakyRelu
from biggan_scale.nn.fourier_features import FourierFeatures
from biggan_scale.nn.lowpass import jinc_lowpass, sinc_lowpass
from biggan_scale.nn.modulated_conv import modulated_conv2d

FIRST_CUTOFF = 2.0  # f_c0
FIRST_STOPBAND = 2**2.1  # f_t0
LAST_STOPBAND = 2**0.3  # f_tN in units of f_cN
TAPS = 6  # of a filter, for each unit of its resampling factor
OVERSAMPLING = 2  # of a non-linearity, over the faster of its layer's rates
OUTPUT_SCALE = 0.25  # of the image: activations of unit variance would fill far more than [-1, 1]


@dataclass(frozen=True)
class GeneratorConfig:
    w_dim: int = 512  # length of w
    mapping_layers: int = 2  # fully connected layers from z to w
    mapping_lr: float = 0.01  # their learning rate, as a multiple of the rest's
    channel_base: int = 32768  # a layer with the cutoff f has channel_base / (2 f) channels (R: 65536)
    channel_max: int = 512  # but at most so many (R: 1024)
    kernel_size: int = 3  # of the convolutions (R: 1)
    radial: bool = False  # filters with the same response in all directions, but for the critically sampled layers (R: true)
    num_layers: int = 14  # convolutions, without RGB's
    num_critical: int = 2  # the last so many of them at critical sampling
    margin: int = 10  # values of the canvas on each side of the image
    conv_clamp: float | None = 256.0  # largest magnitude of activations, for fp16; null: not clamped

    TINY: ClassVar = {"w_dim": 8, "channel_base": 128, "channel_max": 8, "num_layers": 3, "num_critical": 1, "margin": 2}

    def __post_init__(self) -> None:
        if min(self.w_dim, self.mapping_layers, self.channel_base, self.channel_max) < 1:
            raise ValueError("w_dim, mapping_layers, channel_base and channel_max must be at least 1")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size {self.kernel_size} must be odd")
        if not 0 < self.num_critical < self.num_layers:
            raise ValueError(f"num_critical {self.num_critical} must be from 1 to num_layers - 1, which is {self.num_layers - 1}")
        if self.margin < 0:
            raise ValueError(f"margin {self.margin} must be at least 0")
        if self.conv_clamp is not None and self.conv_clamp <= 0:
            raise ValueError(f"conv_clamp {self.conv_clamp} must be above 0, or null")


@dataclass(frozen=True)
class LayerSpec:
    """What leaves a layer."""

    channels: int
    size: tuple[int, int]  # height, width, with the margin
    rate: int  # s, samples per shorter side of the image
    cutoff: float  # f_c, cycles per shorter side
    half_width: float  # f_h


def layer_specs(config: GeneratorConfig, spec: ImageSpec) -> list[LayerSpec]:
    """Of the layers 0 .. N, by the formulae above. Layer N is RGB's; the Fourier features leave as layer 0 does.

    Raises:
        ConfigError: the shorter side is not a power of 2 from 8, or the longer no multiple of it at the smallest rate.
    """
    side = min(spec.height, spec.width)
    if side < 8 or side & (side - 1):
        raise ConfigError(f"data.resolution {spec.height} x {spec.width}: StyleGAN3 needs a shorter side that is a power of 2 from 8")
    specs = []
    for i in range(config.num_layers + 1):
        t = min(i / (config.num_layers - config.num_critical), 1)
        cutoff = FIRST_CUTOFF * (side / 2 / FIRST_CUTOFF) ** t
        stopband = FIRST_STOPBAND * (side / 2 * LAST_STOPBAND / FIRST_STOPBAND) ** t
        rate = 2 ** math.ceil(math.log2(min(2 * stopband, side)))
        if max(spec.height, spec.width) * rate % side:
            raise ConfigError(
                f"data.resolution {spec.height} x {spec.width}: the longer side must be a multiple of {side // math.gcd(side, rate)}"
            )
        margin = config.margin if i < config.num_layers - 1 else 0
        last = i == config.num_layers
        specs.append(
            LayerSpec(
                channels=spec.channels if last else max(round(min(config.channel_base / (2 * cutoff), config.channel_max)), 1),
                size=(spec.height * rate // side + 2 * margin, spec.width * rate // side + 2 * margin),
                rate=rate,
                cutoff=cutoff,
                half_width=max(stopband, rate / 2) - cutoff,
            )
        )
    return specs


class SynthesisLayer(nn.Module):
    """Modulated convolution, bias, non-linearity; from one layer's rate and size to another's.

    Args:
        before, after: what enters and what leaves.
        critical: whether what leaves is critically sampled.
        config: the architecture.
    """

    def __init__(self, before: LayerSpec, after: LayerSpec, critical: bool, config: GeneratorConfig) -> None:
        super().__init__()
        size = config.kernel_size
        self.style = EqualizedLinear(config.w_dim, before.channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(after.channels, before.channels, size, size))
        self.bias = nn.Parameter(torch.zeros(after.channels))
        rate = OVERSAMPLING * max(before.rate, after.rate)
        up, down = rate // before.rate, rate // after.rate
        lowpass = jinc_lowpass if config.radial and not critical else sinc_lowpass
        # The filters' spread, and what the layer takes off or adds: as much before as after, but for the half sample of an even filter.
        padding = (after.size[0] - 1) * down + 1 - (before.size[0] + size - 1) * up + TAPS * (up + down) - 2
        self.activation = FilteredLeakyRelu(
            up,
            sinc_lowpass(TAPS * up, before.cutoff, before.half_width, rate),
            down,
            lowpass(TAPS * down, after.cutoff, after.half_width, rate),
            ((padding + up) // 2, padding - (padding + up) // 2),
            config.conv_clamp,
        )

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        h = modulated_conv2d(x, self.weight, self.style(w), padding=self.weight.shape[2] - 1)
        return self.activation(h + self.bias[:, None, None].to(h.dtype))


class ToRgb(nn.Module):
    """Modulated 1x1 convolution without demodulation."""

    def __init__(self, in_channels: int, out_channels: int, config: GeneratorConfig) -> None:
        super().__init__()
        self.style = EqualizedLinear(config.w_dim, in_channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.scale = 1 / math.sqrt(in_channels)
        self.clamp = config.conv_clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        image = modulated_conv2d(x, self.weight, self.style(w) * self.scale, demodulate=False) + self.bias[:, None, None]
        return image if self.clamp is None else image.clamp(-self.clamp, self.clamp)


class Synthesis(nn.Module):
    """ws to images.

    Args:
        config: the architecture.
        spec: size and channels of the images.

    Attributes:
        magnitudes: (num_layers + 1,) the running mean square of each layer's input.
    """

    magnitudes: Tensor

    def __init__(self, config: GeneratorConfig, spec: ImageSpec) -> None:
        super().__init__()
        specs = layer_specs(config, spec)
        self.num_ws = len(specs) + 1
        self.noise_sizes: tuple[int, ...] = ()  # it takes none
        self.input = FourierFeatures(config.w_dim, specs[0].channels, specs[0].size, specs[0].rate, specs[0].cutoff)
        between = list(itertools.pairwise([specs[0], *specs[:-1]]))
        first_critical = config.num_layers - config.num_critical
        self.layers = nn.ModuleList(SynthesisLayer(a, b, i >= first_critical, config) for i, (a, b) in enumerate(between))
        self.to_rgb = ToRgb(specs[-2].channels, spec.channels, config)
        self.register_buffer("magnitudes", torch.ones(len(specs)))

    def forward(self, ws: Tensor, noise: Tensor | None = None) -> Tensor:
        """ws: (B, num_ws, w_dim); noise: not used, there is none. Returns (B, C, H, W)."""
        return self.observed(ws)[0]

    def observed(self, ws: Tensor) -> tuple[Tensor, Tensor]:
        """Images, and (B, num_layers + 1) the mean square of each layer's input as it arrives, not differentiable."""
        h, squares = self.input(ws[:, 0]), []
        for i, layer in enumerate((*self.layers, self.to_rgb)):
            squares.append(h.detach().to(self.magnitudes.dtype).square().mean((1, 2, 3)))
            h = layer(h * self.magnitudes[i].rsqrt().to(h.dtype), ws[:, i + 1])
        return h * OUTPUT_SCALE, torch.stack(squares, dim=1)


class Generator(StyleGenerator):
    """Latent vectors (and labels) to images; see `StyleGenerator`."""

    SYNTHESIS = Synthesis
    config: GeneratorConfig
    synthesis: Synthesis

    @property
    def magnitudes(self) -> Tensor:
        return self.synthesis.magnitudes

    def observed(self, ws: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.synthesis.observed(ws)
