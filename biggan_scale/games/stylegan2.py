"""The game of StyleGAN2 (Karras et al. 2020, 1912.04958), StyleGAN and StyleGAN3; with adaptive augmentation by choice (2006.06676).

The non-saturating logistic loss. Two regularisers have moves of their own, made once in so many rounds and weighted by that number
(lazy regularisation): R1 on D, and on G the penalty on path lengths. An extra step of a player's optimizer in every k rounds would
change its time scale, so the learning rate is multiplied by c = k / (k + 1) and both betas are raised to its power (appendix B).

w is mixed: with a probability the layers from a random one on take the w of a second z (1812.04948, section 3.1). The mean of w, for
truncation, is fed once a round from G's move, and so are the magnitudes that StyleGAN3's layers normalise by.

StyleGAN (1812.04948) is this game without path lengths and with R1 in every move of D (`r1_every: 1`).
StyleGAN3 (2106.12423) is this game without path lengths and mixing. Its configuration R blurs what D sees at first (`blur`).

Where this differs from the reference code: the running mean a that path lengths are compared with is the one from before the move,
and style mixing picks a crossover for each image instead of each batch. Both make the game exact under accumulation and ranks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from biggan_scale.config import ImageSpec, OptimizerConfig, Part, Schedule, build, part
from biggan_scale.dist.seeds import Noise
from biggan_scale.games.base import Batch, Clock, Draw, Move, Terms
from biggan_scale.games.regularised import Regularised, RegularisedConfig
from biggan_scale.losses.adversarial import NON_SATURATING
from biggan_scale.losses.path_length import path_lengths
from biggan_scale.losses.penalties import finite_difference
from biggan_scale.nn.batch_mean import BatchMean
from biggan_scale.nn.gaussian_blur import gaussian_blur

NO_BLUR = Schedule.constant(0.0)


@dataclass(frozen=True)
class Config(RegularisedConfig):
    generator: Part = part("networks", "Generator")  # G: latent vectors (and labels) to images, by way of w
    discriminator: Part = part("networks", "Discriminator")  # D: images (and labels) to scores
    prior: Part = part("latent")  # the distribution of z
    r1: float = 10.0  # weight gamma of R1: half of it times the squared norm of the gradient at real images; 0: none
    r1_every: int = 16  # rounds from one R1 move to the next; 1: no move of its own, but a term of D's
    compile_r1: bool = False  # R1 through torch.compile, which needs minutes once, and on a CPU a C++ compiler
    r1_sigma: float | None = None  # estimate R1 by the difference over a step of this size; null: differentiate twice
    path_length: float = 2.0  # weight of the penalty on path lengths; 0: none
    path_every: int = 4  # rounds from one path-length move to the next
    path_shrink: int = 2  # path lengths of every so many-th image only
    path_decay: float = 0.01  # share of the newest lengths in their running mean
    mixing: float = 0.9  # probability that an image has two ws
    w_decay: float = 0.995  # part of the mean of w kept each round
    magnitude_kimg: float = 20.0  # thousand generated images after which half of a running magnitude is forgotten
    blur: Schedule = NO_BLUR  # standard deviation in px of a blur of all images that D sees
    truncation_cutoff: int | None = None  # truncate the w of the first so many layers only; null: of all

    PLAYERS: ClassVar[tuple[str, ...]] = ("D", "G")
    TINY: ClassVar[dict[str, int]] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.r1_every, self.path_every, self.path_shrink) < 1:
            raise ValueError("r1_every, path_every and path_shrink must be at least 1")
        if min(self.r1, self.path_length) < 0:
            raise ValueError("r1 and path_length must not be negative")
        for name in ("mixing", "w_decay", "path_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)} must be in [0, 1]")
        if self.r1_sigma is not None and self.r1_sigma <= 0:
            raise ValueError(f"r1_sigma {self.r1_sigma} must be above 0, or null")
        if self.r1_sigma and self.compile_r1:
            raise ValueError("r1_sigma estimates the penalty that compile_r1 compiles: one of them")
        if self.magnitude_kimg <= 0:
            raise ValueError(f"magnitude_kimg {self.magnitude_kimg} must be above 0")
        if min(self.blur.from_, self.blur.to) < 0 or "rounds" in (self.blur.start.unit, self.blur.end.unit):
            raise ValueError("blur must not be negative, and is scheduled by images")


class Stylegan2(Regularised):
    path_mean: Tensor

    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__(config, spec)
        self.prior = build(config.prior, spec)
        self.G = build(config.generator, spec, self.prior.dim)
        self.D = build(config.discriminator, spec)
        self.penalised = torch.compile(self.squared_slope) if config.compile_r1 else self.squared_slope
        self.seen = BatchMean(len(self.G.w_avg) + len(self.G.magnitudes))
        self.register_buffer("path_mean", torch.zeros(()))
        self.before_round(Clock())

    @property
    def has_eager_r1(self) -> bool:
        return self.config.r1 > 0 and self.config.r1_every == 1

    def players(self) -> dict[str, tuple[nn.Module, ...]]:
        return {"D": (self.D,), "G": (self.G,)}

    def averaged(self) -> dict[str, nn.Module]:
        return {"G": self.G}

    def moves(self, clock: Clock) -> tuple[Move, ...]:
        moves = [Move("D", "D")]
        if self.config.r1 > 0 and not self.has_eager_r1:
            moves.append(Move("D_r1", "D", every=self.config.r1_every, partial=True))
        moves.append(Move("G", "G"))
        if self.config.path_length > 0:
            moves.append(Move("G_path", "G", every=self.config.path_every, partial=True))
        return tuple(moves)

    def before_round(self, clock: Clock) -> None:
        self.blur = self.config.blur.at(clock.nimg, images_per_round=1)  # of no number of rounds, so any will do

    def optimizer(self, player: str, config: OptimizerConfig) -> OptimizerConfig:
        """Corrected for the steps that the player's lazy regulariser adds: one in every k rounds."""
        for move in self.moves(Clock()):
            if move.player == player and move.partial:
                c = move.every / (move.every + 1)
                lr = dataclasses.replace(config.lr, from_=config.lr.from_ * c, to=config.lr.to * c)
                return dataclasses.replace(config, lr=lr, betas=(config.betas[0] ** c, config.betas[1] ** c))
        return config

    def latents(self, noise: Noise, labels: Tensor | None = None, truncation: float | None = None) -> Draw:
        draw = {"z": self.prior.sample(noise)}
        if self.spec.num_classes:
            draw["y"] = noise.integers(self.spec.num_classes) if labels is None else labels
        if truncation is not None:
            draw["psi"] = torch.full_like(draw["z"][:, 0], truncation)
        return draw

    def draw(self, move: Move, batch: Batch, noise: Noise) -> Draw:
        if move.name == "D_r1":
            return self.r1_draws(batch, noise) | self.augment_draws(noise, "real")
        draw = self.latents(noise, batch.labels)  # generated images have the classes of the real ones
        if self.config.mixing > 0:
            mixed = noise.uniform() < self.config.mixing
            draw["crossover"] = torch.where(mixed, 1 + noise.integers(self.G.num_ws - 1), self.G.num_ws)
            draw["z2"] = self.prior.sample(noise)
        if self.G.num_noise:
            draw["pixels"] = noise.normal(self.G.num_noise)
        if move.name == "G_path":
            draw["direction"] = noise.normal(self.spec.channels, self.spec.height, self.spec.width)
            return draw
        if move.name == "G":
            return draw | self.augment_draws(noise, "fake")
        draw |= self.augment_draws(noise, "fake", "real") | self.consistency_draws(noise)
        return draw | self.r1_draws(batch, noise) if self.has_eager_r1 else draw

    def r1_draws(self, batch: Batch, noise: Noise) -> Draw:
        return {"step": noise.normal(*batch.images.shape[1:])} if self.config.r1_sigma else {}

    def loss(self, move: Move, batch: Batch, draw: Draw) -> Terms:
        match move.name:
            case "D":
                terms = self.discriminator_loss(batch, draw)
                r1 = self.r1_loss(move, batch, draw) if self.has_eager_r1 else Terms({})
                return Terms(terms.loss | r1.loss, terms.watch | r1.watch)
            case "D_r1":
                return self.r1_loss(move, batch, draw)
            case "G":
                return self.generator_loss(draw)
            case _:
                return self.path_length_loss(move, draw)

    def discriminator_loss(self, batch: Batch, draw: Draw) -> Terms:
        with torch.no_grad():
            generated = self.G.synthesis(self.styles(draw), draw.get("pixels"))
        real = self.shown(batch.images, batch.labels, draw.get("augment_real"))
        fake = self.shown(generated, draw.get("y"), draw.get("augment_fake"))
        terms = Terms({"real": NON_SATURATING.real(real.score).mean(), "fake": NON_SATURATING.fake(fake.score).mean()})
        return self.regularised(terms, real, fake, draw)

    def r1_loss(self, move: Move, batch: Batch, draw: Draw) -> Terms:
        uniforms = draw.get("augment_real")
        if self.config.r1_sigma:
            moved = self.score(batch.images + self.config.r1_sigma * draw["step"], batch.labels, uniforms)
            penalty = finite_difference(self.score(batch.images, batch.labels, uniforms), moved, self.config.r1_sigma)
        else:
            penalty = self.penalised(batch.images, batch.labels, uniforms)
        return Terms({"r1": self.config.r1 / 2 * move.every * penalty.mean()}, {"gradient": penalty.mean().sqrt()})

    def squared_slope(self, images: Tensor, labels: Tensor | None, uniforms: Tensor | None) -> Tensor:
        """(B,): R1 alone. Compiled with the scores it would give D's last bias a gradient of 0, and so a step, instead of none."""
        return self.slope(images, labels, uniforms)[0]

    def generator_loss(self, draw: Draw) -> Terms:
        w = self.G.mapping(draw["z"], draw.get("y"))
        images, magnitudes = self.G.observed(self.styles(draw, w), draw.get("pixels"))
        self.seen.observe(torch.cat([w.to(magnitudes.dtype), magnitudes], dim=1))
        score = self.score(images, draw.get("y"), draw.get("augment_fake"))
        return Terms({"adversarial": NON_SATURATING.generator(score).mean()})

    def path_length_loss(self, move: Move, draw: Draw) -> Terms:
        some = {name: tensor[:: self.config.path_shrink] for name, tensor in draw.items()}
        ws = self.styles(some)
        lengths = path_lengths(self.G.synthesis(ws, some.get("pixels")), ws, some["direction"])
        penalty = (lengths - self.path_mean).square().mean()
        return Terms({"path_length": self.config.path_length * move.every * penalty}, {"length": lengths.mean()})

    def styles(self, draw: Draw, w: Tensor | None = None) -> Tensor:
        """(B, num_ws, w_dim) of a training draw, mixed; w: (B, w_dim) its first w, if that is already known."""
        ws = self.G.broadcast(self.G.mapping(draw["z"], draw.get("y")) if w is None else w)
        if "z2" not in draw:
            return ws
        second = torch.arange(self.G.num_ws, device=ws.device) >= draw["crossover"][:, None]  # (B, num_ws)
        return torch.where(second[:, :, None], self.G.broadcast(self.G.mapping(draw["z2"], draw.get("y"))), ws)

    def view(self, images: Tensor, uniforms: Tensor | None) -> Tensor:
        """The images as D sees them: blurred, and augmented by these draws."""
        return super().view(gaussian_blur(images, self.blur), uniforms)

    def after_step(self, move: Move) -> None:
        if move.name == "G":
            mean, count = self.seen.take()
            w, magnitudes = mean.split([len(self.G.w_avg), len(self.G.magnitudes)])
            self.G.w_avg.lerp_(w, 1 - self.config.w_decay)
            self.G.magnitudes.lerp_(magnitudes, 1 - 0.5 ** (count / (1000 * self.config.magnitude_kimg)))

    def after_round(self, stats: Mapping[str, Tensor], clock: Clock) -> None:
        if "G_path/length" in stats:
            self.path_mean.lerp_(stats["G_path/length"].to(self.path_mean.dtype), self.config.path_decay)
        super().after_round(stats, clock)

    def generate(self, draw: Draw) -> Tensor:
        """From `latents`: with the constant noise images, so that a picture is a function of z, y and truncation."""
        return self.G.synthesis(self.ws(draw))

    def ws(self, draw: Draw) -> Tensor:
        """(B, num_ws, w_dim), truncated, from `latents`: what pictures are edited in."""
        ws = self.G.broadcast(self.G.mapping(draw["z"], draw.get("y")))
        return self.G.truncate(ws, draw.get("psi", 1.0), self.config.truncation_cutoff)
