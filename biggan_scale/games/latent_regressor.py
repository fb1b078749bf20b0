"""A GAN whose images are read back: an encoder is fitted to what G dreams, and G is not touched by it.

    G, D    the GAN of `games/gan.py`
    E       minimise  E_z[-log q(z | G(z))],    q Gaussian, with the mean and the standard deviation that E gives (the latter 1 where
            E is deterministic: then it is least squares); divided by the length of z

This is the sleep phase of the wake-sleep algorithm (Hinton et al. 1995, Science 268:1158), with an adversary in place of the wake phase;
Donahue et al. 2017 (1605.09782, section 4) call it a latent regressor, and compare BiGAN with it. E sees no real image in training, so
it does as well on them as G resembles them.

With `generator_kimg` G and D rest from then on and E alone moves: an encoder for a generator that is finished. The average that is
exported goes on following G, so it soon is the G that E reads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from biggan_scale.config import ConfigError, ImageSpec, Part, build, part
from biggan_scale.games.base import Batch, Clock, Draw, Move, Terms
from biggan_scale.games.gan import Config as GanConfig
from biggan_scale.games.gan import Gan

SMALLEST_STD = 0.01  # of q in its likelihood: where G can be inverted exactly the likelihood has no maximum


@dataclass(frozen=True, kw_only=True)
class Config(GanConfig):
    encoder: Part = part("networks", "Encoder")  # E: images to latent vectors
    generator_kimg: float | None = None  # thousand images after which G and D rest; null: never

    PLAYERS: ClassVar[tuple[str, ...]] = ("D", "G", "E")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.generator_kimg is not None and self.generator_kimg < 0:
            raise ValueError(f"generator_kimg {self.generator_kimg} must not be negative")


class LatentRegressor(Gan):
    config: Config

    def __init__(self, config: Config, spec: ImageSpec) -> None:
        if spec.num_classes:
            raise ConfigError(f"data.num_classes {spec.num_classes}: this game learns without labels; set it to 0")
        super().__init__(config, spec)
        self.E = build(config.encoder, spec, self.prior.dim)

    def players(self) -> dict[str, tuple[nn.Module, ...]]:
        return super().players() | {"E": (self.E,)}

    def averaged(self) -> dict[str, nn.Module]:
        return super().averaged() | {"E": self.E}

    def moves(self, clock: Clock) -> tuple[Move, ...]:
        rests = self.config.generator_kimg is not None and clock.nimg >= self.config.generator_kimg * 1000
        return (Move("E", "E"),) if rests else (*super().moves(clock), Move("E", "E"))

    def loss(self, move: Move, batch: Batch, draw: Draw) -> Terms:
        return self.encoder_loss(draw) if move.player == "E" else super().loss(move, batch, draw)

    def encoder_loss(self, draw: Draw) -> Terms:
        with torch.no_grad():
            dream = self.generate(draw)
        z = draw["z"]
        mean, std = self.E.posterior(dream)
        std = std.clamp_min(SMALLEST_STD) if self.E.is_stochastic else torch.ones_like(mean)
        surprise = ((z - mean) / std).square() / 2 + std.log() + math.log(2 * math.pi) / 2  # -log N(z; mean, std^2) of each value
        return Terms({"surprise": surprise.mean()}, {"error": (z - mean).square().mean()})

    def reconstruct(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, self.generate({"z": self.E(images)})
