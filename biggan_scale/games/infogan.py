"""InfoGAN (Chen et al. 2016, 1606.03657): a GAN whose codes can be read off its images.

    min over G, Q   max over D   of   V(D, G) - weight * L(G, Q),    L = E[log Q(c | G(z, c))] + H(c)  <=  I(c; G(z, c))

The prior is joint: noise z, uniform and categorical codes c. Q shares D's convolutions; a small head gives the probabilities of
each categorical code, and the mean of each uniform one, whose deviation from it has variance 1 (as in the authors' code).

D's player owns Q, as in that code: both of its objectives train the shared convolutions on the same images, and G's move has the
second one too. With weight 0 this is a GAN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biggan_scale.config import ConfigError, ImageSpec, Part, build, part
from biggan_scale.dist.seeds import Noise
from biggan_scale.games.base import Batch, Clock, Draw, Move, Terms, full_precision
from biggan_scale.games.regularised import Regularised, RegularisedConfig, Seen
from biggan_scale.latent.interpolation import lerp, slerp
from biggan_scale.latent.joint import Codes, Joint
from biggan_scale.losses.adversarial import LOSSES


@dataclass(frozen=True)
class Config(RegularisedConfig):
    generator: Part = part("networks", "Generator")  # G: latent vectors to images
    discriminator: Part = part("networks", "Discriminator")  # D: images to features and scores
    prior: Part = part("latent")  # a joint one: noise and codes
    loss: Literal["hinge", "non_saturating", "minimax", "least_squares", "wasserstein"] = "non_saturating"  # the adversarial loss
    weight: float = 1.0  # of the information about the categorical codes
    uniform_weight: float = 0.1  # of the information about the uniform codes
    q_width: int = 128  # of the layer between D's features and what Q says
    d_steps: int = 1  # moves of D per round; each takes a global batch of its own

    PLAYERS: ClassVar[tuple[str, ...]] = ("D", "G")
    TINY: ClassVar[dict[str, int]] = {"q_width": 8}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d_steps < 1:
            raise ValueError(f"d_steps {self.d_steps} must be at least 1")
        if min(self.weight, self.uniform_weight) < 0:
            raise ValueError(f"weight {self.weight} and uniform_weight {self.uniform_weight} must not be negative")


class Information(NamedTuple):
    """Lower bounds on the information that images hold about their codes, in nats: scalars.

    categorical is at most the codes' entropy. uniform is at most num_uniform (log 2 - log(2 pi) / 2).
    """

    categorical: Tensor
    uniform: Tensor


class CodeReader(nn.Module):
    """Q's own layers: D's features to what they say of the codes."""

    def __init__(self, num_features: int, width: int, prior: Joint) -> None:
        super().__init__()
        self.sizes = (prior.config.uniform, *prior.config.categories)
        self.layer = nn.Linear(num_features, width)
        self.output = nn.Linear(width, sum(self.sizes))

    def forward(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, num_features) to the mean of the uniform codes (B, uniform), and for each categorical code its (B, K) logits."""
        mean, *logits = self.output(F.leaky_relu(self.layer(features), 0.1)).split(self.sizes, dim=1)
        return mean, logits


class Infogan(Regularised):
    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__(config, spec)
        if spec.num_classes:
            raise ConfigError(f"data.num_classes {spec.num_classes}: this game learns without labels; set it to 0")
        self.prior = build(config.prior, spec)
        if not isinstance(self.prior, Joint):
            raise ConfigError(f"game.prior.type {config.prior.type}: InfoGAN needs the codes of a joint prior; allowed: joint")
        self.G = build(config.generator, spec, self.prior.dim)
        self.D = build(config.discriminator, spec)
        self.Q = CodeReader(self.D.num_features, config.q_width, self.prior)
        self.objective = LOSSES[config.loss]

    def players(self) -> dict[str, tuple[nn.Module, ...]]:
        return {"D": (self.D, self.Q), "G": (self.G,)}

    def averaged(self) -> dict[str, nn.Module]:
        return {"G": self.G}

    def moves(self, clock: Clock) -> tuple[Move, ...]:
        return Move("D", "D", repeats=self.config.d_steps), Move("G", "G")

    def latents(self, noise: Noise, labels: Tensor | None = None, truncation: float | None = None) -> Draw:
        return {"z": self.prior.sample(noise, truncation)}

    def draw(self, move: Move, batch: Batch, noise: Noise) -> Draw:
        draw = self.latents(noise)
        if move.player == "G":
            return draw | self.augment_draws(noise, "fake")
        return draw | self.augment_draws(noise, "real", "fake") | self.consistency_draws(noise)

    def loss(self, move: Move, batch: Batch, draw: Draw) -> Terms:
        return self.discriminator_loss(batch, draw) if move.player == "D" else self.generator_loss(draw)

    def discriminator_loss(self, batch: Batch, draw: Draw) -> Terms:
        with torch.no_grad():
            fake = self.generate(draw)
        real_view, fake_view = self.view(batch.images, draw.get("augment_real")), self.view(fake, draw.get("augment_fake"))
        features = self.D.features(torch.cat([real_view, fake_view]))
        real_score, fake_score = full_precision(self.D.score(features)).chunk(2)
        information = self.information(features.chunk(2)[1], draw["z"])
        loss = {"real": self.objective.real(real_score).mean(), "fake": self.objective.fake(fake_score).mean()}
        terms = Terms(loss | self.information_loss(information), information._asdict())
        real = Seen(real_view, real_score, lambda other: self.judge(other, None))
        return self.regularised(terms, real, real._replace(view=fake_view, score=fake_score), draw)

    def generator_loss(self, draw: Draw) -> Terms:
        features = self.D.features(self.view(self.generate(draw), draw.get("augment_fake")))
        adversarial = self.objective.generator(full_precision(self.D.score(features))).mean()
        return Terms({"adversarial": adversarial} | self.information_loss(self.information(features, draw["z"])))

    def information(self, features: Tensor, z: Tensor) -> Information:
        """What D's features (B, num_features) of generated images tell of the codes in their z: L of the paper."""
        codes = self.prior.split(z)
        mean, logits = self.Q(features)
        found = [-F.cross_entropy(full_precision(logit), code) for logit, code in zip(logits, codes.categorical, strict=True)]
        categorical = self.prior.entropy + torch.stack(found).sum() if found else features.new_zeros(())
        density = -(codes.uniform - full_precision(mean)).square() / 2 - math.log(2 * math.pi) / 2  # log N(c; mean, 1)
        return Information(categorical, (density + math.log(2)).sum(1).mean())  # log 2: the entropy of U(-1, 1)

    def information_loss(self, information: Information) -> dict[str, Tensor]:
        return {
            "information": -self.config.weight * information.categorical,
            "uniform_information": -self.config.uniform_weight * information.uniform,
        }

    def generate(self, draw: Draw) -> Tensor:
        return self.G(draw["z"])

    def scores(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return full_precision(self.D(images))

    def num_rows(self) -> int:
        return self.prior.num_rows

    def arrange(self, draw: Draw, columns: int) -> Draw:
        return {"z": self.prior.arrange(draw["z"], columns)}

    def interpolate(self, a: Draw, b: Draw, t: float | Tensor) -> Draw:
        """Noise on the great circle, uniform codes on a straight line, categories those of a."""
        start, end = self.prior.split(a["z"]), self.prior.split(b["z"])
        return {"z": self.prior.join(Codes(slerp(start.normal, end.normal, t), lerp(start.uniform, end.uniform, t), start.categorical))}
