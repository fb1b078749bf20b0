"""BigGAN: generator and discriminator for square images of 32 to 512 px (Brock et al. 2019, 1809.11096, appendix B).

Widths are multiples of `channels`, the paper's ch; with ch 96 and 128 px, G and D have the 158.3 M parameters of table 1. The
paper's "BigGAN-deep" is `biggan_deep.py`. It has no 32 px: those networks are SNGAN's (1802.05957), 4 ch wide throughout.

G: z (and the label) -> linear -> 4x4 -> one up-block per doubling -> norm, activation, 3x3 convolution, tanh.
D: image -> one down-block per halving, the last block(s) without -> activation, SUM over positions -> h;
   score = linear(h) + <embed(y), h>    (projection, Miyato & Koyama 2018, 1802.05637)

Hierarchical z: z is cut into equal chunks, the first for the linear layer, one for each block, where every norm is conditioned
on [embedding of y, chunk].
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biggan_scale.config import ConfigError, ImageSpec
from biggan_scale.nn import init, spectral_norm
from biggan_scale.nn.attention import SelfAttention
from biggan_scale.nn.conditional_norm import AffineNorm, ConditionalNorm
from biggan_scale.nn.residual import Activation, DiscriminatorBlock, GeneratorBlock
from biggan_scale.nn.sync_norm import BatchNorm

# Widths before, between and after the blocks, in multiples of `channels`.
G_WIDTHS = {
    32: (4, 4, 4, 4),
    64: (16, 16, 8, 4, 2),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
    512: (16, 16, 8, 8, 4, 2, 1, 1),
}
# Widths after each block. The first blocks halve the resolution, down to 4x4 (at 32 px: twice, down to 8x8); the rest keep it.
D_WIDTHS = {
    32: (4, 4, 4, 4),
    64: (1, 2, 4, 8, 16),
    128: (1, 2, 4, 8, 16, 16),
    256: (1, 2, 4, 8, 8, 16, 16),
    512: (1, 1, 2, 4, 8, 8, 16, 16),
}
BOTTOM = 4  # G starts from 4x4

ACTIVATIONS: dict[str, Activation] = {"relu": F.relu, "leaky_relu": partial(F.leaky_relu, negative_slope=0.2)}


@dataclass(frozen=True)
class GeneratorConfig:
    channels: int = 64  # the paper's ch: all widths are multiples of it (ImageNet: 96; CIFAR: 64)
    hierarchical: bool = True  # give every block its own chunk of z; the length of z must divide by the number of blocks + 1
    shared_dim: int = 128  # length of the class embedding all norms share; 0: each norm has tables of its own
    attention: tuple[int, ...] = ()  # resolutions in px after whose block self-attention follows (the paper: 64)
    widths: tuple[int, ...] = ()  # before, between and after the blocks, in multiples of channels; []: the paper's for the resolution
    activation: Literal["relu", "leaky_relu"] = "relu"  # nonlinearity of the blocks
    upsampling: Literal["nearest", "bilinear"] = "nearest"  # how a block doubles its size; the papers': nearest
    init: Literal["orthogonal", "normal", "xavier"] = "orthogonal"  # how weights are drawn
    spectral_norm: bool = True  # normalise convolutions and linear layers; never the embeddings
    sn_eps: float = 1e-8  # keeps the power iteration from dividing by 0
    sn_iterations: int = 1  # power iterations per move
    bn_eps: float = 1e-5  # added to the variance in the blocks' norms
    output_bn_eps: float | None = None  # the same in the last norm; null: bn_eps
    bn_momentum: float = 0.1  # weight of the newest batch in the running statistics
    bn_unbiased: bool = True  # record the unbiased variance in the running statistics
    adds_gain: bool = False  # norms compute x_hat + gain + bias: only for imported weights that were trained so

    TINY: ClassVar[dict[str, Any]] = {"channels": 4, "shared_dim": 8, "attention": ()}

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise ConfigError(f"channels {self.channels} must be at least 1")
        if self.shared_dim < 0:
            raise ConfigError(f"shared_dim {self.shared_dim} must be at least 0")
        if min(self.widths, default=1) < 1:
            raise ConfigError(f"widths {list(self.widths)} must be at least 1")


@dataclass(frozen=True)
class DiscriminatorConfig:
    channels: int = 64  # the paper's ch: all widths are multiples of it (ImageNet: 96; CIFAR: 64)
    wide: bool = True  # a block widens in its first convolution (BigGAN); false: in its second (SNGAN)
    attention: tuple[int, ...] = ()  # resolutions in px at whose blocks' output self-attention follows (the paper: 64)
    activation: Literal["relu", "leaky_relu"] = "relu"  # nonlinearity of the blocks
    init: Literal["orthogonal", "normal", "xavier"] = "orthogonal"  # how weights are drawn
    spectral_norm: bool = True  # normalise convolutions, linear layers and the embedding
    sn_eps: float = 1e-8  # keeps the power iteration from dividing by 0
    sn_iterations: int = 1  # power iterations per move

    TINY: ClassVar[dict[str, Any]] = {"channels": 4, "attention": ()}  # it wants more channels

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise ConfigError(f"channels {self.channels} must be at least 1")


class Generator(nn.Module):
    """Latent vectors (and labels) to images.

    Args:
        config: the architecture.
        spec: size, channels and classes of the images.
        latent_dim: length of z.
    """

    config: GeneratorConfig

    def __init__(self, config: GeneratorConfig, spec: ImageSpec, latent_dim: int) -> None:
        super().__init__()
        self.config = config
        widths = self.block_widths(spec)
        resolutions = [BOTTOM * 2 ** (i + 1) for i in range((len(widths) - 1) // self.depth)]  # after each stage
        self.chunk = self.chunk_length(latent_dim, len(resolutions))
        self.activation = ACTIVATIONS[config.activation]
        self.embed = nn.Embedding(spec.num_classes, config.shared_dim) if spec.num_classes and config.shared_dim else None
        self.linear = nn.Linear(self.stem_dim, widths[0] * BOTTOM**2)  # its rows are (C, h, w)
        norm = self._block_norm(spec)
        self.blocks = nn.ModuleList(self.block(i, a, b, norm) for i, (a, b) in enumerate(itertools.pairwise(widths)))
        self.attention = _attention("generator", config.attention, resolutions, widths[self.depth :: self.depth], self.depth)
        self.output_norm = AffineNorm(self._batch_norm(config.bn_eps if config.output_bn_eps is None else config.output_bn_eps)(widths[-1]))
        self.output = nn.Conv2d(widths[-1], spec.channels, 3, padding=1)
        init.initialize(self, config.init)
        if config.spectral_norm:
            spectral_norm.apply(self, (nn.Conv2d, nn.Linear), config.sn_eps, config.sn_iterations)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """z: (B, latent_dim); y: (B,) int64, None without classes. Returns (B, C, H, W) in [-1, 1]."""
        return self.synthesize(z, y if self.embed is None else self.embed(y))

    def synthesize(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """The same from what the norms take: (B, shared_dim) embedded labels, say interpolated ones; labels if shared_dim is 0."""
        z, conditions = self._conditions(z, condition)
        h = self.linear(z).unflatten(1, (-1, BOTTOM, BOTTOM))  # (B, C, 4, 4)
        for i, block in enumerate(self.blocks):
            h = block(h, conditions[i])  # (B, C', 2H, 2W)
            if str(i) in self.attention:
                h = self.attention[str(i)](h)
        h = self.activation(self.output_norm(h), inplace=True)
        return torch.tanh(self.output(h))

    # What BigGAN-deep does otherwise: `networks/biggan_deep.py`.

    def chunk_length(self, latent_dim: int, num_stages: int) -> int:
        """How much of z a norm is given, if any."""
        return _chunk(latent_dim, num_stages + 1) if self.config.hierarchical else latent_dim

    @property
    def vector_dim(self) -> int:
        """Length of what the norms are conditioned on, where that is a vector; 0 where it is not."""
        return (self.config.shared_dim if self.embed is not None else 0) + (self.chunk if self.config.hierarchical else 0)

    @property
    def stem_dim(self) -> int:
        """Length of what the linear layer takes."""
        return self.chunk

    @property
    def depth(self) -> int:
        """Blocks to a stage, which doubles the resolution."""
        return 1

    def block(self, index: int, in_channels: int, out_channels: int, norm: Callable[[int], nn.Module]) -> nn.Module:
        return GeneratorBlock(in_channels, out_channels, norm, self.activation, self.config.upsampling)

    def block_widths(self, spec: ImageSpec) -> list[int]:
        """Before, between and after the blocks; by the paper, the last of a stage changes them."""
        channels, widths = self.config.channels, self.config.widths
        if not widths:
            first, *after = widths_at(G_WIDTHS, spec, channels)
            return [first, *(w for a, b in itertools.pairwise((first, *after)) for w in [a] * (self.depth - 1) + [b])]
        num_blocks = len(widths) - 1
        if num_blocks % self.depth or BOTTOM * 2 ** (num_blocks // self.depth) != spec.resolution:
            needed = self.depth * math.log2(spec.resolution / BOTTOM) + 1
            raise ConfigError(
                f"generator: {len(widths)} widths, but {spec.resolution} px need {needed:g}: {self.depth} to a doubling of 4 px"
            )
        return [channels * width for width in widths]

    def _conditions(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, list[Tensor | None]]:
        """What the linear layer takes, and what each block's norms take."""
        if not self.config.hierarchical:
            return z, [condition] * len(self.blocks)
        first, *chunks = z.split(self.chunk, dim=1)
        if condition is None:
            return first, list(chunks)
        return first, [torch.cat([condition, chunk], dim=1) for chunk in chunks]  # (B, shared_dim + chunk)

    def _block_norm(self, spec: ImageSpec) -> Callable[[int], nn.Module]:
        config, batch_norm = self.config, self._batch_norm(self.config.bn_eps)
        if self.embed is None and spec.num_classes and config.hierarchical:
            raise ConfigError("generator: hierarchical needs a shared class embedding; set shared_dim (say 128) or hierarchical: false")
        projection: Callable[[int], nn.Module]
        if self.vector_dim:
            projection = partial(nn.Linear, self.vector_dim, bias=False)
        elif spec.num_classes:
            projection = partial(nn.Embedding, spec.num_classes)
        else:
            return lambda width: AffineNorm(batch_norm(width))
        return lambda width: ConditionalNorm(batch_norm(width), projection)

    def _batch_norm(self, eps: float) -> Callable[[int], BatchNorm]:
        config = self.config
        return partial(BatchNorm, eps=eps, momentum=config.bn_momentum, unbiased=config.bn_unbiased, adds_gain=config.adds_gain)


class ImageFeatures(nn.Module):
    """The convolutions of a discriminator. Subclasses add what reads the features, then call `finish`.

    Args:
        config: the architecture.
        spec: size, channels and classes of the images.
    """

    config: DiscriminatorConfig

    def __init__(self, config: DiscriminatorConfig, spec: ImageSpec) -> None:
        super().__init__()
        self.config = config
        before, *widths = self.stage_widths(spec)
        num_halvings = 2 if spec.resolution == 32 else round(math.log2(spec.resolution / BOTTOM))
        resolutions = [spec.resolution // 2 ** min(i + 1, num_halvings) for i in range(len(widths))]  # after each stage
        self.num_features = widths[-1]
        self.activation = ACTIVATIONS[config.activation]
        self.stem = self.make_stem(spec.channels, before)
        stages = [self.stage(i, a, b, i < num_halvings) for i, (a, b) in enumerate(itertools.pairwise((before, *widths)))]
        self.blocks = nn.ModuleList(itertools.chain(*stages))
        self.attention = _attention("discriminator", config.attention, resolutions, widths, len(stages[0]))

    # What BigGAN-deep does otherwise: `networks/biggan_deep.py`.

    def stage_widths(self, spec: ImageSpec) -> list[int]:
        """Before the first stage, and after each."""
        return [spec.channels, *widths_at(D_WIDTHS, spec, self.config.channels)]

    def make_stem(self, image_channels: int, out_channels: int) -> nn.Module:
        """What comes before the first stage."""
        return nn.Identity()

    def stage(self, index: int, in_channels: int, out_channels: int, downsample: bool) -> list[nn.Module]:
        """The blocks of one resolution."""
        hidden = out_channels if self.config.wide else in_channels
        return [DiscriminatorBlock(in_channels, hidden, out_channels, self.activation, preactivation=index > 0, downsample=downsample)]

    def finish(self) -> None:
        """Draw the weights and normalise the layers, once all are there."""
        init.initialize(self, self.config.init)
        if self.config.spectral_norm:
            spectral_norm.apply(self, (nn.Conv2d, nn.Linear, nn.Embedding), self.config.sn_eps, self.config.sn_iterations)

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] to (B, num_features): what the score and any further head are read from."""
        h = self.stem(images)
        for i, block in enumerate(self.blocks):
            h = block(h)
            if str(i) in self.attention:
                h = self.attention[str(i)](h)
        return self.activation(h, inplace=True).sum((2, 3))


class Discriminator(ImageFeatures):
    """Images (and labels) to scores."""

    def __init__(self, config: DiscriminatorConfig, spec: ImageSpec) -> None:
        super().__init__(config, spec)
        self.linear = nn.Linear(self.num_features, 1)
        self.embed = nn.Embedding(spec.num_classes, self.num_features) if spec.num_classes else None
        self.finish()

    def forward(self, images: Tensor, y: Tensor | None = None) -> Tensor:
        """images: (B, C, H, W) in [-1, 1]; y: (B,) int64, None without classes. Returns (B,) scores, before any sigmoid."""
        return self.score(self.features(images), y)

    def score(self, features: Tensor, y: Tensor | None = None) -> Tensor:
        """(B,) scores of images whose (B, num_features) features are known."""
        score = self.linear(features).squeeze(1)  # (B,)
        return score if self.embed is None else score + (self.embed(y) * features).sum(1)


def widths_at(table: dict[int, tuple[int, ...]], spec: ImageSpec, channels: int) -> list[int]:
    if spec.resolution not in table:
        raise ConfigError(f"data.resolution {spec.resolution}: BigGAN is defined for {', '.join(map(str, table))}")
    return [channels * width for width in table[spec.resolution]]


def _chunk(latent_dim: int, num_chunks: int) -> int:
    """The length of each of z's equal chunks."""
    if latent_dim % num_chunks or not latent_dim:
        below = max(latent_dim // num_chunks, 1) * num_chunks
        raise ConfigError(
            f"a latent of {latent_dim} cannot be cut into {num_chunks} equal chunks (hierarchical: true); "
            f"nearest: {below} or {below + num_chunks}"
        )
    return latent_dim // num_chunks


def _attention(where: str, wanted: tuple[int, ...], resolutions: list[int], widths: list[int], depth: int) -> nn.ModuleDict:
    """The self-attention that follows some of the stages, of `depth` blocks each, keyed by the index of the last of them."""
    unknown = sorted(set(wanted) - set(resolutions))
    if unknown:
        raise ConfigError(
            f"{where}: attention at {unknown[0]} px, but its blocks end at {', '.join(map(str, sorted(set(resolutions))))} px"
        )
    layers = nn.ModuleDict()
    for i, (resolution, width) in enumerate(zip(resolutions, widths, strict=True)):
        if resolution in wanted:
            if width < SelfAttention.MIN_CHANNELS:
                raise ConfigError(
                    f"{where}: attention at {resolution} px would have {width} channels, fewer than {SelfAttention.MIN_CHANNELS}; "
                    "raise channels or leave it out"
                )
            layers[str(i * depth + depth - 1)] = SelfAttention(width)
    return layers
