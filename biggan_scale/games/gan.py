"""The two-player game of Goodfellow et al. 2014 (1406.2661), with everything BigGAN adds by choice of parts.

D tells real images from generated ones, G tries to be taken for real. The adversarial loss, the networks and the prior are
chosen in the config; D may move several times per move of G; G's weights may be regularised towards orthogonality, and D as
`games/regularised.py` has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from biggan_scale.config import ImageSpec, Part, build, part
from biggan_scale.dist.seeds import Noise
from biggan_scale.games.base import Batch, Clock, Draw, Move, Terms
from biggan_scale.games.regularised import Regularised, RegularisedConfig, Seen
from biggan_scale.latent.joint import Joint
from biggan_scale.losses import orthogonal
from biggan_scale.losses.adversarial import LOSSES


@dataclass(frozen=True)
class Config(RegularisedConfig):
    generator: Part = part("networks", "Generator")  # G: latent vectors (and labels) to images
    discriminator: Part = part("networks", "Discriminator")  # D: images (and labels) to scores
    prior: Part = part("latent")  # the distribution of the latent vectors
    loss: Literal["hinge", "non_saturating", "minimax", "least_squares", "wasserstein"] = "hinge"  # the adversarial loss
    d_steps: int = 1  # moves of D per round; each takes a global batch of its own
    orthogonal: float = 0.0  # strength of BigGAN's orthogonal regularisation of G (the paper: 1e-4)
    apart: bool = False  # D is given real and generated images apart: where it has batch norm, as in DCGAN

    PLAYERS: ClassVar[tuple[str, ...]] = ("D", "G")
    TINY: ClassVar[dict[str, int]] = {"d_steps": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d_steps < 1:
            raise ValueError(f"d_steps {self.d_steps} must be at least 1")
        if self.orthogonal < 0:
            raise ValueError(f"orthogonal {self.orthogonal} must not be negative")


class Gan(Regularised):
    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__(config, spec)
        self.prior = build(config.prior, spec)
        self.G = build(config.generator, spec, self.prior.dim)
        self.D = build(config.discriminator, spec)
        self.objective = LOSSES[config.loss]

    def players(self) -> dict[str, tuple[nn.Module, ...]]:
        return {"D": (self.D,), "G": (self.G,)}

    def averaged(self) -> dict[str, nn.Module]:
        return {"G": self.G}

    def moves(self, clock: Clock) -> tuple[Move, ...]:
        return Move("D", "D", repeats=self.config.d_steps), Move("G", "G")

    def draw(self, move: Move, batch: Batch, noise: Noise) -> Draw:
        draw = self.latents(noise)
        match move.player:
            case "D":
                return draw | self.augment_draws(noise, "real", "fake") | self.consistency_draws(noise)
            case "G":
                return draw | self.augment_draws(noise, "fake")
            case _:
                return draw

    def loss(self, move: Move, batch: Batch, draw: Draw) -> Terms:
        return self.discriminator_loss(batch, draw) if move.player == "D" else self.generator_loss(draw)

    def discriminator_loss(self, batch: Batch, draw: Draw) -> Terms:
        with torch.no_grad():
            fake = self.generate(draw)
        return self.told_apart(batch, fake, draw)

    def told_apart(self, batch: Batch, fake: Tensor, draw: Draw) -> Terms:
        """The terms of D's move, for these generated images."""
        real_view, fake_view = self.view(batch.images, draw.get("augment_real")), self.view(fake, draw.get("augment_fake"))
        if self.config.apart:
            real_score, fake_score = self.judge(real_view, batch.labels), self.judge(fake_view, draw.get("y"))
        else:
            labels = None if batch.labels is None else torch.cat([batch.labels, draw["y"]])
            real_score, fake_score = self.judge(torch.cat([real_view, fake_view]), labels).chunk(2)
        terms = Terms({"real": self.objective.real(real_score).mean(), "fake": self.objective.fake(fake_score).mean()})
        real = Seen(real_view, real_score, lambda view: self.judge(view, batch.labels))
        return self.regularised(terms, real, Seen(fake_view, fake_score, lambda view: self.judge(view, draw.get("y"))), draw)

    def generator_loss(self, draw: Draw) -> Terms:
        return Terms({"adversarial": self.objective.generator(self.taken_for_real(draw)).mean()})

    def taken_for_real(self, draw: Draw) -> Tensor:
        """(B,): D's scores of what G makes of a draw, differentiable in everything."""
        return self.score(self.generate(draw), draw.get("y"), draw.get("augment_fake"))

    def add_gradients(self, move: Move) -> None:
        if move.player == "G" and self.config.orthogonal > 0:
            orthogonal.add_gradient_(orthogonal.regularised_weights(self.G), self.config.orthogonal)

    def generate(self, draw: Draw) -> Tensor:
        return self.G(draw["z"], draw.get("y"))

    def num_rows(self) -> int:
        return self.spec.num_classes or (self.prior.num_rows if isinstance(self.prior, Joint) else 0)

    def arrange(self, draw: Draw, columns: int) -> Draw:
        return draw | {"z": self.prior.arrange(draw["z"], columns)} if isinstance(self.prior, Joint) else draw
