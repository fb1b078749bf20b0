"""R3GAN's objective (Huang et al. 2024, 2501.05441): relativistic pairing with R1 and R2 in every step of D, and nothing else.

    D: softplus(D(G(z)) - D(x)) + gamma / 2 (|grad D(x)|^2 + |grad D(G(z))|^2),    G: softplus(D(x) - D(G(z)))

It is meant for networks without tricks: no path lengths, no mixing, no minibatch standard deviation. Any G and D can play. Pairs share
the class, where there are classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from biggan_scale.config import ImageSpec, Part, build, part
from biggan_scale.dist.seeds import Noise
from biggan_scale.games.base import Batch, Clock, Draw, Game, Move, Terms, full_precision
from biggan_scale.losses import relativistic
from biggan_scale.losses.penalties import squared_gradient


@dataclass(frozen=True)
class Config:
    generator: Part = part("networks", "Generator")  # G: latent vectors (and labels) to images
    discriminator: Part = part("networks", "Discriminator")  # D: images (and labels) to scores
    prior: Part = part("latent")  # the distribution of z
    augment: Part | None = part("augment", optional=True)  # of all images that D sees; null: none
    gamma: float = 1.0  # weight of R1 and of R2 (the paper: 0.01 to 0.05 on CIFAR-10, 150 at the start on FFHQ 256)

    PLAYERS: ClassVar[tuple[str, ...]] = ("D", "G")
    TINY: ClassVar[dict[str, int]] = {}

    def __post_init__(self) -> None:
        if self.gamma < 0:
            raise ValueError(f"gamma {self.gamma} must not be negative")


class R3gan(Game):
    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__(config, spec)
        self.prior = build(config.prior, spec)
        self.G = build(config.generator, spec, self.prior.dim)
        self.D = build(config.discriminator, spec)
        self.augment = None if config.augment is None else build(config.augment, spec)

    def players(self) -> dict[str, tuple[nn.Module, ...]]:
        return {"D": (self.D,), "G": (self.G,)}

    def averaged(self) -> dict[str, nn.Module]:
        return {"G": self.G}

    def moves(self, clock: Clock) -> tuple[Move, ...]:
        return Move("D", "D"), Move("G", "G")

    def latents(self, noise: Noise, labels: Tensor | None = None, truncation: float | None = None) -> Draw:
        draw = {"z": self.prior.sample(noise, truncation)}
        if self.spec.num_classes:
            draw["y"] = noise.integers(self.spec.num_classes) if labels is None else labels
        return draw

    def draw(self, move: Move, batch: Batch, noise: Noise) -> Draw:
        draw = self.latents(noise, batch.labels)
        if self.augment is not None:
            draw |= {name: noise.uniform(self.augment.num_draws) for name in ("augment_real", "augment_fake")}
        return draw

    def loss(self, move: Move, batch: Batch, draw: Draw) -> Terms:
        return self.discriminator_loss(batch, draw) if move.player == "D" else self.generator_loss(batch, draw)

    def discriminator_loss(self, batch: Batch, draw: Draw) -> Terms:
        with torch.no_grad():
            fake = self.generate(draw)
        real_images, fake_images = batch.images.detach().requires_grad_(), fake.detach().requires_grad_()
        real, fake = self.score(real_images, draw, "augment_real"), self.score(fake_images, draw, "augment_fake")
        r1, r2 = squared_gradient(real, real_images).mean(), squared_gradient(fake, fake_images).mean()
        return Terms(
            {
                "adversarial": relativistic.discriminator(real, fake).mean(),
                "r1": self.config.gamma / 2 * r1,
                "r2": self.config.gamma / 2 * r2,
            },
            {"margin": (real - fake).mean(), "sign_real": real.sign().mean()} | ({} if self.augment is None else self.augment.watch()),
        )

    def generator_loss(self, batch: Batch, draw: Draw) -> Terms:
        real = self.score(batch.images, draw, "augment_real")
        fake = self.score(self.generate(draw), draw, "augment_fake")
        return Terms({"adversarial": relativistic.generator(real, fake).mean()})

    def score(self, images: Tensor, draw: Draw, uniforms: str) -> Tensor:
        augmented = images if self.augment is None else self.augment(images, draw[uniforms])
        return full_precision(self.D(augmented, draw.get("y")))

    def after_round(self, stats: Mapping[str, Tensor], clock: Clock) -> None:
        if self.augment is not None:
            self.augment.adapt(stats["D/sign_real"], clock.nimg, clock.round)

    def generate(self, draw: Draw) -> Tensor:
        return self.G(draw["z"], draw.get("y"))
