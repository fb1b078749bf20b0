"""R3GAN's objective (Huang et al. 2024, 2501.05441): relativistic pairing with R1 and R2 in every step of D, and nothing else.

    D: softplus(D(G(z)) - D(x)) + gamma / 2 (|grad D(x)|^2 + |grad D(G(z))|^2),    G: softplus(D(x) - D(G(z)))

It is meant for networks without tricks (`networks/r3gan.py`): no path lengths, no mixing, no minibatch standard deviation. Any G and D
can play. Pairs share the class, where there are classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from biggan_scale.config import ImageSpec, Part, Schedule, build, part
from biggan_scale.dist.seeds import Noise
from biggan_scale.games.base import Batch, Clock, Draw, Move, Terms
from biggan_scale.games.regularised import Regularised, RegularisedConfig, Seen
from biggan_scale.losses import relativistic
from biggan_scale.losses.penalties import finite_difference

ONE = Schedule.constant(1.0)


@dataclass(frozen=True)
class Config(RegularisedConfig):
    generator: Part = part("networks", "Generator")  # G: latent vectors (and labels) to images
    discriminator: Part = part("networks", "Discriminator")  # D: images (and labels) to scores
    prior: Part = part("latent")  # the distribution of z
    compile_penalties: bool = False  # R1 and R2 through torch.compile, which needs minutes once, and on a CPU a C++ compiler
    sigma: float | None = None  # estimate R1 and R2 by the difference over a step of this size; null: differentiate twice
    gamma: Schedule = ONE  # weight of R1 and of R2 (the paper: 0.05 to 0.005 on CIFAR-10, 150 to 15 on FFHQ 256)

    PLAYERS: ClassVar[tuple[str, ...]] = ("D", "G")
    TINY: ClassVar[dict[str, int]] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.gamma.from_, self.gamma.to) < 0:
            raise ValueError(f"gamma {min(self.gamma.from_, self.gamma.to)} must not be negative")
        if "rounds" in (self.gamma.start.unit, self.gamma.end.unit):
            raise ValueError("gamma is scheduled by images")
        if self.sigma is not None and self.sigma <= 0:
            raise ValueError(f"sigma {self.sigma} must be above 0, or null")
        if self.sigma and self.compile_penalties:
            raise ValueError("sigma estimates the penalties that compile_penalties compiles: one of them")


class R3gan(Regularised):
    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__(config, spec)
        self.prior = build(config.prior, spec)
        self.G = build(config.generator, spec, self.prior.dim)
        self.D = build(config.discriminator, spec)
        self.gamma = config.gamma.from_
        self.penalised = torch.compile(self.slope) if config.compile_penalties else self.slope

    def players(self) -> dict[str, tuple[nn.Module, ...]]:
        return {"D": (self.D,), "G": (self.G,)}

    def averaged(self) -> dict[str, nn.Module]:
        return {"G": self.G}

    def moves(self, clock: Clock) -> tuple[Move, ...]:
        return Move("D", "D"), Move("G", "G")

    def before_round(self, clock: Clock) -> None:
        self.gamma = self.config.gamma.at(clock.nimg, images_per_round=1)  # of no number of rounds, so any will do

    def draw(self, move: Move, batch: Batch, noise: Noise) -> Draw:
        draw = self.latents(noise, batch.labels) | self.augment_draws(noise, "real", "fake")
        if move.player == "G":
            return draw
        draw |= self.consistency_draws(noise)
        steps = ("step_real", "step_fake") if self.config.sigma else ()
        return draw | {name: noise.normal(*batch.images.shape[1:]) for name in steps}

    def loss(self, move: Move, batch: Batch, draw: Draw) -> Terms:
        return self.discriminator_loss(batch, draw) if move.player == "D" else self.generator_loss(batch, draw)

    def discriminator_loss(self, batch: Batch, draw: Draw) -> Terms:
        with torch.no_grad():
            generated = self.generate(draw)
        r1, real = self.sloped(batch.images, draw, "real")
        r2, fake = self.sloped(generated, draw, "fake")
        terms = Terms(
            {
                "adversarial": relativistic.discriminator(real.score, fake.score).mean(),
                "r1": self.gamma / 2 * r1,
                "r2": self.gamma / 2 * r2,
            },
            {"margin": (real.score - fake.score).mean()},
        )
        return self.regularised(terms, real, fake, draw)

    def sloped(self, images: Tensor, draw: Draw, which: str) -> tuple[Tensor, Seen]:
        """The mean squared norm of the gradient of D's score by the images, and what D has seen."""
        labels, uniforms = draw.get("y"), draw.get(f"augment_{which}")
        if self.config.sigma:
            score = self.score(images, labels, uniforms)
            moved = self.score(images + self.config.sigma * draw[f"step_{which}"], labels, uniforms)
            squared = finite_difference(score, moved, self.config.sigma)
        else:
            squared, score = self.penalised(images, labels, uniforms)
        view = images if self.consistency is None else self.view(images, uniforms)  # nothing else asks for it
        return squared.mean(), Seen(view, score, lambda view: self.judge(view, labels))

    def generator_loss(self, batch: Batch, draw: Draw) -> Terms:
        real = self.shown(batch.images, draw.get("y"), draw.get("augment_real"))
        fake = self.shown(self.generate(draw), draw.get("y"), draw.get("augment_fake"))
        return Terms({"adversarial": relativistic.generator(real.score, fake.score).mean()})

    def generate(self, draw: Draw) -> Tensor:
        return self.G(draw["z"], draw.get("y"))
