"""Adaptive discriminator augmentation (Karras et al. 2020, 2006.06676): whatever D sees is augmented, each transform with probability p.

As long as p is below 1, G learns the images and not their augmentations. p follows how much D overfits, read from the signs of its
scores of real images: r = E[sign D(x)] is about 0 without overfitting and 1 with nothing else. Every few rounds p moves by a fixed
amount towards where r is `target`.

The transforms, in order, and what they draw (appendix B; all multiply p by their group's weight; rotations share it between two):

    blit      mirror; turn by a multiple of 90 degrees; shift by whole pixels, up to 1/8 of the size
    geometry  scale 2^N(0, 0.2); rotate; stretch 2^N(0, 0.2); rotate; shift by N(0, 1/8) of the size       one warp with blit
    color     brightness N(0, 0.2); contrast 2^N(0, 0.5); luma flip; hue; saturation 2^N(0, 1)
    filter    each of four octave bands by 2^N(0, 1), keeping the power
    noise     N(0, |N(0, 0.1)|) for each value
    cutout    a square of half the size to mid grey
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from biggan_scale.augment import bands, color
from biggan_scale.augment.draws import Draws
from biggan_scale.augment.warp import SMALLEST, rotation, scaling, translation, warp
from biggan_scale.config import ConfigError, ImageSpec

SHIFT = 0.125  # of the size
NUM_DRAWS = {"blit": 7, "geometry": 11, "color": 10, "filter": 8, "cutout": 3}  # of an image; noise: 2 and one for each value


@dataclass(frozen=True)
class Config:
    p: float = 0.0  # probability at the start
    target: float | None = 0.6  # of the mean sign of D's scores of real images; null: p stays
    kimg: float = 500.0  # thousand images in which p could go from 0 to 1
    every: int = 4  # rounds from one adjustment of p to the next
    blit: float = 1.0  # weight of mirroring, turns by 90 degrees and shifts by whole pixels; 0: none
    geometry: float = 1.0  # weight of scaling, rotating, stretching and shifting; 0: none
    color: float = 1.0  # weight of the colour transforms; 0: none
    filter: float = 0.0  # weight of changing the strength of frequency bands; 0: none
    noise: float = 0.0  # weight of adding noise; 0: none
    cutout: float = 0.0  # weight of cutting out a square; 0: none

    TINY: ClassVar[dict[str, float]] = {}

    def __post_init__(self) -> None:
        for name in ("p", *NUM_DRAWS, "noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)} must be in [0, 1]")
        if self.target is not None and not -1 < self.target < 1:
            raise ValueError(f"target {self.target} must be between -1 and 1, or null")
        if self.kimg <= 0 or self.every < 1:
            raise ValueError("kimg must be above 0 and every at least 1")


class Ada(nn.Module):
    """Augments images, and steers by how D scores real ones.

    Args:
        config: which transforms, and how p is steered.
        spec: size and channels of the images.
    """

    p: Tensor
    signs: Tensor
    rounds: Tensor
    last: Tensor
    bank: Tensor

    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        if config.color and spec.channels not in (1, 3):
            raise ConfigError(f"augment.color: images of {spec.channels} channels have no colours; set it to 0")
        if min(spec.height, spec.width) < SMALLEST:
            raise ConfigError(f"augment: images of {spec.height} x {spec.width} px are too small; at least {SMALLEST}")
        self.config = config
        self.register_buffer("p", torch.tensor(config.p))
        self.register_buffer("signs", torch.zeros(()))  # summed over rounds since the last adjustment
        self.register_buffer("rounds", torch.zeros((), dtype=torch.int64))
        self.register_buffer("last", torch.zeros((), dtype=torch.int64))  # images seen at the last adjustment
        self.register_buffer("bank", bands.bank().float())
        groups = [number for name, number in NUM_DRAWS.items() if getattr(config, name) > 0]
        self.num_draws = sum(groups) + (2 + spec.channels * spec.height * spec.width if config.noise > 0 else 0)

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        """(B, C, H, W), augmented.

        Args:
            images: (B, C, H, W) in [-1, 1].
            uniforms: (B, num_draws) in [0, 1).
        """
        draws, config = Draws(uniforms), self.config
        with torch.autocast(images.device.type, enabled=False):
            x = images.to(torch.promote_types(images.dtype, torch.float32))
            if config.blit > 0 or config.geometry > 0:
                x = warp(x, self._inverse(draws, x.shape[2], x.shape[3]))
            if config.color > 0:
                x = color.apply(x, self._colors(draws))
            if config.filter > 0:
                x = bands.filtered(x, self._kernels(draws))
            if config.noise > 0:
                x = self._noisy(x, draws)
            if config.cutout > 0:
                x = self._cut(x, draws)
        return x

    @property
    def is_adaptive(self) -> bool:
        """Whether p follows D's scores."""
        return self.config.target is not None

    def watch(self) -> dict[str, Tensor]:
        """What to log beside the scores."""
        return {"augment_p": self.p.clone()}

    @torch.no_grad()
    def adapt(self, sign: Tensor, nimg: int, round: int) -> None:
        """Take a round's mean sign of D's scores of real images, and adjust p when it is time.

        Args:
            sign: scalar in [-1, 1], over the global batch.
            nimg, round: the clock as the round began.
        """
        if self.config.target is None:
            return
        if round % self.config.every == 0 and self.rounds > 0:
            direction = (self.signs / self.rounds - self.config.target).sign()
            self.p.add_(direction * (nimg - self.last) / (self.config.kimg * 1000)).clamp_(0, 1)
            self.signs.zero_(), self.rounds.zero_()
            self.last.fill_(nimg)
        self.signs += sign.to(self.signs.dtype)
        self.rounds += 1

    def _inverse(self, draws: Draws, height: int, width: int) -> Tensor:
        """(B, 3, 3): the warp from the result's places to the image's. Each transform acts on the result of those before it."""
        result = torch.eye(3, dtype=draws.rest.dtype, device=draws.rest.device).expand(len(draws.rest), 3, 3)
        if self.config.blit > 0:
            p = self.p * self.config.blit
            flip = 1 - 2 * _gated(draws, p, (draws.uniform() * 2).floor())
            result = result @ scaling(flip, torch.ones_like(flip))
            result = result @ rotation(_gated(draws, p, (draws.uniform() * 4).floor()) * (math.pi / 2))
            shift = _gated(draws, p, draws.uniform(2) * 2 - 1) * SHIFT
            result = result @ translation(-(shift[:, :1] * width).round(), -(shift[:, 1:] * height).round())
        if self.config.geometry > 0:
            p = self.p * self.config.geometry
            p_rotation = 1 - (1 - p).clamp(0, 1).sqrt()  # so that one of the two happens with p
            scale = torch.exp2(-_gated(draws, p, draws.normal() * 0.2))
            result = result @ scaling(scale, scale)
            result = result @ rotation(_gated(draws, p_rotation, (draws.uniform() * 2 - 1) * math.pi))
            stretch = torch.exp2(-_gated(draws, p, draws.normal() * 0.2))
            result = result @ scaling(stretch, 1 / stretch)
            result = result @ rotation(_gated(draws, p_rotation, (draws.uniform() * 2 - 1) * math.pi))
            shift = _gated(draws, p, draws.normal(2)) * SHIFT
            result = result @ translation(-shift[:, :1] * width, -shift[:, 1:] * height)
        return result

    def _colors(self, draws: Draws) -> Tensor:
        p = self.p * self.config.color
        result = color.brightness(_gated(draws, p, draws.normal() * 0.2))
        result = color.contrast(torch.exp2(_gated(draws, p, draws.normal() * 0.5))) @ result
        result = color.luma_flip(_gated(draws, p, (draws.uniform() * 2).floor())) @ result
        result = color.hue(_gated(draws, p, (draws.uniform() * 2 - 1) * math.pi)) @ result
        return color.saturation(torch.exp2(_gated(draws, p, draws.normal()))) @ result

    def _kernels(self, draws: Draws) -> Tensor:
        """(B, k): the image's filter. Each band in turn is changed, and then all are scaled back to the power of natural images."""
        p, gain = self.p * self.config.filter, torch.ones_like(draws.rest[:, :1]).repeat(1, bands.NUM_BANDS)
        power = gain.new_tensor(bands.POWER)
        for band in range(bands.NUM_BANDS):
            change = torch.ones_like(gain)
            change[:, band : band + 1] = torch.exp2(_gated(draws, p, draws.normal()))
            gain = gain * change / (power * change.square()).sum(1, keepdim=True).sqrt()
        return gain @ self.bank.to(gain.dtype)

    def _noisy(self, x: Tensor, draws: Draws) -> Tensor:
        sigma = _gated(draws, self.p * self.config.noise, draws.normal().abs() * 0.1)
        return x + sigma[:, :, None, None] * draws.normal(x[0].numel()).view(x.shape)

    def _cut(self, x: Tensor, draws: Draws) -> Tensor:
        size = _gated(draws, self.p * self.config.cutout, torch.full_like(draws.rest[:, :1], 0.5))
        center = draws.uniform(2)
        rows, columns = ((torch.arange(n, device=x.device, dtype=x.dtype) + 0.5) / n for n in x.shape[2:])
        outside = ((columns - center[:, :1]).abs() >= size / 2)[:, None, None, :] | ((rows - center[:, 1:]).abs() >= size / 2)[
            :, None, :, None
        ]
        return x * outside


def _gated(draws: Draws, p: Tensor, value: Tensor) -> Tensor:
    """The value with probability p, otherwise 0."""
    return torch.where(draws.happens(p), value, torch.zeros_like(value))
