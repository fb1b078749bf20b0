"""MMD GAN (Li et al. 2017, 1705.08584) as Binkowski et al. 2018 (1801.01401) train it.

D maps images to features, and between the features of real and of generated images there is a distance in closed form: the maximum
mean discrepancy. G makes it small; D, the critic, chooses features that make it large, held by a penalty on the gradient of the
witness function f, which is to that distance what the critic is to WGAN-GP's (section 3.1 there):

    D: -MMD^2(D(x), D(G(z))) + penalty (|grad_t f(D(t))| - 1)^2,    t between x and G(z);    G: MMD^2

There are no scores, so what is built on scores (ADA, LeCam, the watch for overfitting) is not for this game, nor are classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from biggan_scale.config import ConfigError, ImageSpec, Part, build, part
from biggan_scale.dist.seeds import Noise
from biggan_scale.games.base import Batch, Clock, Draw, Game, Move, Terms, full_precision
from biggan_scale.losses.mmd import blocks, squared_mmd, witness
from biggan_scale.losses.penalties import slope_excess


@dataclass(frozen=True)
class Config:
    generator: Part = part("networks", "Generator")  # G: latent vectors to images
    discriminator: Part = part("networks", "Discriminator")  # D: images to `outputs` features (the paper: 16)
    prior: Part = part("latent")  # the distribution of the latent vectors
    block: int = 32  # samples whose features are compared with each other; micro-batches are multiples of it
    penalty: float = 1.0  # weight of the gradient penalty
    d_steps: int = 5  # moves of D per round; each takes a global batch of its own

    PLAYERS: ClassVar[tuple[str, ...]] = ("D", "G")
    TINY: ClassVar[dict[str, int]] = {"block": 2, "d_steps": 2}

    def __post_init__(self) -> None:
        if self.block < 2:
            raise ValueError(f"block {self.block} must be at least 2")
        if self.penalty < 0:
            raise ValueError(f"penalty {self.penalty} must not be negative")
        if self.d_steps < 1:
            raise ValueError(f"d_steps {self.d_steps} must be at least 1")


class MmdGan(Game):
    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__(config, spec)
        if spec.num_classes:
            raise ConfigError(f"data.num_classes {spec.num_classes}: this game knows no classes; set it to 0")
        if getattr(config.discriminator.config, "outputs", 1) < 2:
            raise ConfigError("game.discriminator: this game compares features; take type dcgan with outputs: 16")
        self.prior = build(config.prior, spec)
        self.G = build(config.generator, spec, self.prior.dim)
        self.D = build(config.discriminator, spec)

    def players(self) -> dict[str, tuple[nn.Module, ...]]:
        return {"D": (self.D,), "G": (self.G,)}

    def averaged(self) -> dict[str, nn.Module]:
        return {"G": self.G}

    def moves(self, clock: Clock) -> tuple[Move, ...]:
        return Move("D", "D", repeats=self.config.d_steps), Move("G", "G")

    def latents(self, noise: Noise, labels: Tensor | None = None, truncation: float | None = None) -> Draw:
        return {"z": self.prior.sample(noise, truncation)}

    def draw(self, move: Move, batch: Batch, noise: Noise) -> Draw:
        draw = self.latents(noise)
        return draw | {"mix": noise.uniform(1, 1, 1)} if move.player == "D" else draw

    def loss(self, move: Move, batch: Batch, draw: Draw) -> Terms:
        if move.player == "G":
            return Terms({"mmd": squared_mmd(self.features(batch.images), self.features(self.generate(draw))).mean()})
        with torch.no_grad():
            generated = self.generate(draw)
        real, fake = self.features(batch.images), self.features(generated)
        mmd = squared_mmd(real, fake).mean()
        between = (draw["mix"] * batch.images + (1 - draw["mix"]) * generated).requires_grad_()
        excess = slope_excess(witness(self.features(between), real, fake).flatten(), between)
        return Terms({"mmd": -mmd, "penalty": self.config.penalty * excess.mean()})

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B / block, block, outputs)."""
        if len(images) % self.config.block:
            raise ConfigError(f"a micro-batch of {len(images)} cannot be cut into blocks of {self.config.block} (game.block)")
        return blocks(full_precision(self.D(images, None)), self.config.block)

    def generate(self, draw: Draw) -> Tensor:
        return self.G(draw["z"], None)
