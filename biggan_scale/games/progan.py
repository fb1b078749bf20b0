"""Progressive growing (Karras et al. 2018, 1710.10196): G and D begin at 4x4 px and double, each new block fading in.

The smallest resolution is held for `hold_kimg`; then, for every doubling, the new blocks fade in over `fade_kimg` and are held. How far
that is, is a function of the images seen. While blocks fade in, real images are blended between their resolutions as well.

    D: D(G(z)) - D(x) + penalty (|grad D(x')| - 1)^2 + drift D(x)^2,    G: -D(G(z)),    x' between x and G(z)      (WGAN-GP, 1704.00028)

D and G move once each (appendix A.1). No block is added while a run goes on: those that do not play yet get no gradient, so their
weights and moments wait as they were made, and their optimizer's first step is the first one they are in. (The authors' code forgets all
moments at a new resolution, of which the paper says nothing.) The paper's smaller batches at high resolutions spare memory;
here micro-batches do that.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biggan_scale.config import ConfigError, ImageSpec, Part, build, part
from biggan_scale.dist.seeds import Noise
from biggan_scale.games.base import Batch, Clock, Draw, Move, Terms
from biggan_scale.games.regularised import Regularised, RegularisedConfig
from biggan_scale.losses.penalties import slope_excess
from biggan_scale.networks.progan import BOTTOM, Growing, enlarge


@dataclass(frozen=True)
class Config(RegularisedConfig):
    generator: Part = part("networks", "Generator")  # G: latent vectors (and labels) to images; a network that grows
    discriminator: Part = part("networks", "Discriminator")  # D: images (and labels) to scores; a network that grows
    prior: Part = part("latent")  # the distribution of the latent vectors
    hold_kimg: float = 800.0  # thousand images at a resolution between two fades, and at the first one
    fade_kimg: float = 800.0  # thousand images in which the next resolution fades in
    penalty: float = 10.0  # weight of the gradient penalty
    drift: float = 0.001  # weight of the squares of D's scores of real images

    PLAYERS: ClassVar[tuple[str, ...]] = ("D", "G")
    TINY: ClassVar[dict[str, float]] = {"hold_kimg": 0.002, "fade_kimg": 0.008}

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.hold_kimg, self.fade_kimg, self.penalty, self.drift) < 0:
            raise ValueError("hold_kimg, fade_kimg, penalty and drift must not be negative")
        if self.hold_kimg + self.fade_kimg == 0:
            raise ValueError("hold_kimg and fade_kimg must not both be 0")


class Progan(Regularised):
    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__(config, spec)
        self.prior = build(config.prior, spec)
        self.G = build(config.generator, spec, self.prior.dim)
        self.D = build(config.discriminator, spec)
        for name, network in (("generator", self.G), ("discriminator", self.D)):
            if not isinstance(network, Growing):
                raise ConfigError(f"game.{name}.type {getattr(config, name).type}: this game's networks grow; allowed: progan")
        self.before_round(Clock())

    def players(self) -> dict[str, tuple[nn.Module, ...]]:
        return {"D": (self.D,), "G": (self.G,)}

    def averaged(self) -> dict[str, nn.Module]:
        return {"G": self.G}

    def moves(self, clock: Clock) -> tuple[Move, ...]:
        return Move("D", "D", partial=True), Move("G", "G", partial=True)  # of the blocks that play

    def before_round(self, clock: Clock) -> None:
        grown = growth(clock.nimg, self.config.hold_kimg * 1000, self.config.fade_kimg * 1000, self.G.num_blocks)
        self.G.grow(grown)
        self.D.grow(grown)

    def seen_spec(self) -> ImageSpec:
        return dataclasses.replace(self.spec, height=BOTTOM, width=BOTTOM)

    def draw(self, move: Move, batch: Batch, noise: Noise) -> Draw:
        draw = self.latents(noise, batch.labels)  # real and generated image of a line share their class
        if move.player == "G":
            return draw | self.augment_draws(noise, "fake")
        return draw | {"mix": noise.uniform(1, 1, 1)} | self.augment_draws(noise, "real", "fake") | self.consistency_draws(noise)

    def loss(self, move: Move, batch: Batch, draw: Draw) -> Terms:
        return self.discriminator_loss(batch, draw) if move.player == "D" else self.generator_loss(draw)

    def discriminator_loss(self, batch: Batch, draw: Draw) -> Terms:
        with torch.no_grad():
            generated = self.G.images(draw["z"], draw.get("y"))
        real = self.shown(self.at_this_size(batch.images), draw.get("y"), draw.get("augment_real"))
        fake = self.shown(generated, draw.get("y"), draw.get("augment_fake"))
        between = torch.lerp(fake.view, real.view, draw["mix"]).requires_grad_()
        penalty = slope_excess(self.judge(between, draw.get("y")), between)
        terms = Terms(
            {
                "distance": (fake.score - real.score).mean(),
                "penalty": self.config.penalty * penalty.mean(),
                "drift": self.config.drift * real.score.square().mean(),
            },
            {"growth": self.D.growth.clone()},
        )
        return self.regularised(terms, real, fake, draw)

    def generator_loss(self, draw: Draw) -> Terms:
        seen = self.shown(self.G.images(draw["z"], draw.get("y")), draw.get("y"), draw.get("augment_fake"))
        return Terms({"adversarial": -seen.score.mean()})

    def at_this_size(self, images: Tensor) -> Tensor:
        """Real images as D sees them at this moment: averaged down, and blended between two sizes while blocks fade in."""
        small = F.avg_pool2d(images, images.shape[2] // self.D.size)
        return self.D.blend(enlarge(F.avg_pool2d(small, 2), self.D.size), small) if self.D.is_fading else small

    def generate(self, draw: Draw) -> Tensor:
        return self.G(draw["z"], draw.get("y"))

    def scores(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return self.judge(self.at_this_size(images), labels)


def growth(nimg: int, hold: float, fade: float, num_blocks: int) -> float:
    """How many blocks play after so many images, the fraction being the one that fades in.

    Args:
        nimg: images seen.
        hold, fade: images that a resolution is held and faded in for.
        num_blocks: how many there are; no more than these grow.
    """
    if nimg < hold:
        return 0.0
    grown, faded = divmod(nimg - hold, hold + fade)
    return min(grown + (min(faded / fade, 1.0) if fade else 1.0), float(num_blocks))
