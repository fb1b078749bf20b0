"""BiGAN (Donahue et al. 2017, 1605.09782), and ALI (Dumoulin et al. 2017, 1606.00704): a GAN over pairs of image and latent vector.

D tells pairs (x, E(x)) of real images from pairs (G(z), z) of generated ones. G and E play against it together:

    min over G, E   max over D   of   V(D, E, G) = E_x[log D(x, E(x))] + E_z[log(1 - D(G(z), z))]

At the optimum E inverts G. BiGAN's E is deterministic, ALI's draws z from a Gaussian whose mean and standard deviation depend on x
(`encoder: {stochastic: true}`).

The objective of G and E is one sum, of which the first term does not depend on G nor the second on E. So G and E move one after the
other against the same D, each on its own term: the gradients, and the cost, are those of one joint step, and E has an optimizer of
its own.

D sees images through `augment`, E is trained with images through `encoder_augment`, each by draws of its own. What both change is lost on
the way from the image by z to D: E learns to leave it out of z. So strong changes of colour give a z that tells of shapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from biggan_scale.config import ConfigError, ImageSpec, Part, build, part
from biggan_scale.dist.seeds import Noise
from biggan_scale.games.base import Batch, Clock, Draw, Move, Terms, full_precision
from biggan_scale.games.regularised import Regularised, RegularisedConfig, Seen, fixed_augment
from biggan_scale.losses.adversarial import LOSSES


@dataclass(frozen=True)
class Config(RegularisedConfig):
    generator: Part = part("networks", "Generator")  # G: latent vectors to images
    encoder: Part = part("networks", "Encoder")  # E: images to latent vectors
    discriminator: Part = part("networks", "JointDiscriminator")  # D: images and latent vectors to scores
    prior: Part = part("latent")  # the distribution of the latent vectors
    encoder_augment: Part | None = part("augment", optional=True)  # of the images that E is trained with; null: none
    loss: Literal["hinge", "non_saturating", "minimax", "wasserstein"] = "non_saturating"  # the adversarial loss
    d_steps: int = 1  # moves of D per round; each takes a global batch of its own

    PLAYERS: ClassVar[tuple[str, ...]] = ("D", "G", "E")
    TINY: ClassVar[dict[str, int]] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d_steps < 1:
            raise ValueError(f"d_steps {self.d_steps} must be at least 1")


class Bigan(Regularised):
    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__(config, spec)
        if spec.num_classes:
            raise ConfigError(f"data.num_classes {spec.num_classes}: this game learns without labels; set it to 0")
        self.prior = build(config.prior, spec)
        self.G = build(config.generator, self.generated_spec(), self.prior.dim)
        self.E = build(config.encoder, spec, self.prior.dim)
        self.D = build(config.discriminator, self.generated_spec(), self.prior.dim, self.score_names())
        self.encoder_augment = fixed_augment("encoder_augment", config.encoder_augment, spec)
        self.objective = LOSSES[config.loss]

    def score_names(self) -> tuple[str, ...]:
        """Which scores D gives: of the pair."""
        return ("xz",)

    def players(self) -> dict[str, tuple[nn.Module, ...]]:
        return {"D": (self.D,), "G": (self.G,), "E": (self.E,)}

    def averaged(self) -> dict[str, nn.Module]:
        return {"G": self.G, "E": self.E}

    def moves(self, clock: Clock) -> tuple[Move, ...]:
        return Move("D", "D", repeats=self.config.d_steps), Move("G", "G"), Move("E", "E")

    def latents(self, noise: Noise, labels: Tensor | None = None, truncation: float | None = None) -> Draw:
        return {"z": self.prior.sample(noise, truncation)}

    def draw(self, move: Move, batch: Batch, noise: Noise) -> Draw:
        draw = {} if move.player == "E" else self.latents(noise)
        if move.player != "G" and self.E.is_stochastic:
            draw["eps"] = noise.normal(self.prior.dim)
        if move.player != "G" and self.encoder_augment is not None:
            draw["encoder_augment"] = noise.uniform(self.encoder_augment.num_draws)
        if move.player == "D":
            return draw | self.augment_draws(noise, "real", "fake") | self.consistency_draws(noise)
        return draw | self.augment_draws(noise, "fake" if move.player == "G" else "real")

    def loss(self, move: Move, batch: Batch, draw: Draw) -> Terms:
        match move.player:
            case "D":
                return self.discriminator_loss(batch, draw)
            case "G":
                return self.generator_loss(draw)
            case _:
                return self.encoder_loss(batch, draw)

    def discriminator_loss(self, batch: Batch, draw: Draw) -> Terms:
        with torch.no_grad():
            generated, code = self.generate(draw), self.encode(batch.images, draw)
        real_view, fake_view = self.real_view(batch, draw), self.view(generated, draw.get("augment_fake"))
        scores = self.pair_scores(torch.cat([real_view, fake_view]), torch.cat([code, draw["z"]]))
        loss: dict[str, Tensor] = {}
        watch: dict[str, Tensor] = {}
        for name, score in scores.items():
            of_real, of_fake = score.chunk(2)
            loss |= {f"real_{name}": self.objective.real(of_real).mean(), f"fake_{name}": self.objective.fake(of_fake).mean()}
            watch |= {f"score_real_{name}": of_real.mean(), f"score_fake_{name}": of_fake.mean()}
        of_real, of_fake = together(scores).chunk(2)
        real = Seen(real_view, of_real, lambda view: together(self.pair_scores(view, code)))
        fake = Seen(fake_view, of_fake, lambda view: together(self.pair_scores(view, draw["z"])))
        return self.regularised(Terms(loss, watch), real, fake, draw)

    def generator_loss(self, draw: Draw) -> Terms:
        scores = self.pair_scores(self.view(self.generate(draw), draw.get("augment_fake")), draw["z"])
        return Terms({name: self.objective.generator(score).mean() for name, score in scores.items()})

    def encoder_loss(self, batch: Batch, draw: Draw) -> Terms:
        """E wants its pairs taken for G's. The losses on offer are symmetric: to change sides is to turn the sign of the score."""
        scores = self.pair_scores(self.real_view(batch, draw), self.encode(batch.images, draw))
        return Terms({name: self.objective.generator(-score).mean() for name, score in scores.items()})

    def real_view(self, batch: Batch, draw: Draw) -> Tensor:
        """The real images as D sees them."""
        return self.view(self.as_generated(batch.images), draw.get("augment_real"))

    def seen_spec(self) -> ImageSpec:
        return self.generated_spec()

    def scores(self, images: Tensor, labels: Tensor | None) -> None:
        """D judges pairs."""

    def pair_scores(self, images: Tensor, z: Tensor) -> dict[str, Tensor]:
        return {name: full_precision(score) for name, score in self.D(images, z).items()}

    def generate(self, draw: Draw) -> Tensor:
        return self.G(draw["z"])

    def encode(self, images: Tensor, draw: Draw) -> Tensor:
        """(B, latent_dim): E's latent vectors of images; the mean where the draw has no "eps"."""
        if "encoder_augment" in draw:
            images = self.encoder_augment(images, draw["encoder_augment"])
        return self.E.sample(images, draw.get("eps"))

    def reconstruct(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.as_generated(images), self.generate({"z": self.E(images)})


def together(scores: dict[str, Tensor]) -> Tensor:
    """(B,): the sum of several scores."""
    return torch.stack(list(scores.values())).sum(0)
