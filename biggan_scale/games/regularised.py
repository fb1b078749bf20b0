"""What any game may add whose D scores images, on a small data set above all. Not a game, but a base of games.

augment       whatever D sees is augmented, and G learns through it (`augment/`: 2006.06676, 2006.10738)
consistency   D's score must not change under some transforms T of what it sees: weight (D(T(v)) - D(v))^2. At real images this is CR-GAN
              (Zhang et al. 2020, 1910.12027), at generated ones as well bCR (Zhao et al. 2021, 2002.04724)
lecam         D's scores are drawn towards the running means of the opposite ones (`losses/lecam.py`: 2104.03310)

Such a game names the move of its D "D". It draws with `augment_draws` and `consistency_draws`, shows D `view`s, and lets `regularised`
complete the terms of D's move; where D has several scores, by their sum. The running means are fed once a round, with the means over
the global batch, so that neither ranks nor accumulation change them; the first rounds count alike, and the first of all is not pulled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from biggan_scale.config import ConfigError, ImageSpec, Part, build, part
from biggan_scale.dist.seeds import Noise
from biggan_scale.games.base import Clock, Draw, Game, Terms, full_precision
from biggan_scale.losses.lecam import lecam
from biggan_scale.losses.penalties import squared_gradient, squared_gradient_of


@dataclass(frozen=True, kw_only=True)
class RegularisedConfig:
    augment: Part | None = part("augment", optional=True)  # of all images that D sees; null: none
    consistency: Part | None = part("augment", optional=True)  # transforms that D's scores shall not change under; null: none
    consistency_real: float = 10.0  # weight of the squared change at real images
    consistency_fake: float = 10.0  # and at generated ones; 0: none (CR-GAN)
    lecam: float = 0.0  # weight of LeCam's squares (the paper: 0.01 to 0.3); 0: none
    lecam_decay: float = 0.99  # part of the running mean of D's scores kept each round

    def __post_init__(self) -> None:
        if min(self.consistency_real, self.consistency_fake, self.lecam) < 0:
            raise ValueError("consistency_real, consistency_fake and lecam must not be negative")
        if not 0 <= self.lecam_decay < 1:
            raise ValueError(f"lecam_decay {self.lecam_decay} must be in [0, 1)")


def fixed_augment(key: str, chosen: Part | None, spec: ImageSpec) -> Any:
    """What `game.key` chose of `augment/`, for images that no score steers it by. None: none.

    Raises: ConfigError, if it waits to be steered.
    """
    if chosen is None:
        return None
    augment = build(chosen, spec)
    if augment.is_adaptive:
        raise ConfigError(f"game.{key}: nothing steers its p (only that of game.augment follows D's scores); set target: null and a p")
    return augment


class Seen(NamedTuple):
    """Images as D has seen them, and what it said.

    view: (B, C, H, W). score: (B,). again: the scores of other views of these images.
    """

    view: Tensor
    score: Tensor
    again: Callable[[Tensor], Tensor]


class Regularised(Game):
    D: Any  # images (and labels) to scores
    prior: Any  # a component of `latent/`
    augment: Any  # a component of `augment/`, or None
    consistency: Any  # the same
    mean_real: Tensor
    mean_fake: Tensor
    rounds: Tensor

    def __init__(self, config: Any, spec: ImageSpec) -> None:
        super().__init__(config, spec)
        self.augment = None if config.augment is None else build(config.augment, self.seen_spec())
        self.consistency = fixed_augment("consistency", config.consistency, self.seen_spec())
        if config.lecam > 0:
            self.register_buffer("mean_real", torch.zeros(()))
            self.register_buffer("mean_fake", torch.zeros(()))
            self.register_buffer("rounds", torch.zeros(()))  # that the means are of

    def seen_spec(self) -> ImageSpec:
        """The images that D sees; the smallest, where their size changes."""
        return self.spec

    def latents(self, noise: Noise, labels: Tensor | None = None, truncation: float | None = None) -> Draw:
        draw = {"z": self.prior.sample(noise, truncation)}
        if self.spec.num_classes:
            draw["y"] = noise.integers(self.spec.num_classes) if labels is None else labels
        return draw

    def augment_draws(self, noise: Noise, *which: str) -> Draw:
        """For each of "real" and "fake": what `view` of them takes, as "augment_real" and "augment_fake"."""
        return {} if self.augment is None else {f"augment_{name}": noise.uniform(self.augment.num_draws) for name in which}

    def consistency_draws(self, noise: Noise) -> Draw:
        """What D's move takes besides."""
        return {f"consistency_{name}": noise.uniform(self.consistency.num_draws) for name in self._consistent()}

    def view(self, images: Tensor, uniforms: Tensor | None) -> Tensor:
        """(B, C, H, W): the images as D sees them, augmented by these draws."""
        return images if self.augment is None else self.augment(images, uniforms)

    def judge(self, view: Tensor, labels: Tensor | None) -> Tensor:
        """(B,): D's scores of a view."""
        return full_precision(self.D(view, labels))

    def shown(self, images: Tensor, labels: Tensor | None, uniforms: Tensor | None) -> Seen:
        """The images shown to D, augmented by these draws."""
        view = self.view(images, uniforms)
        return Seen(view, self.judge(view, labels), lambda other: self.judge(other, labels))

    def score(self, images: Tensor, labels: Tensor | None, uniforms: Tensor | None) -> Tensor:
        """(B,): D's scores of the images, augmented by these draws."""
        return self.shown(images, labels, uniforms).score

    def slope(self, images: Tensor, labels: Tensor | None, uniforms: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B,) and (B,): the squared norm of the gradient of that score by each image as it is, through its augmentation; the scores."""
        if torch.compiler.is_compiling():
            return squared_gradient_of(lambda x: self.score(x, labels, uniforms), images)
        images = images.detach().requires_grad_()
        score = self.score(images, labels, uniforms)
        return squared_gradient(score, images), score

    def scores(self, images: Tensor, labels: Tensor | None) -> Tensor | None:
        return self.judge(images, labels)

    def regularised(self, terms: Terms, real: Seen, fake: Seen, draw: Draw) -> Terms:
        """The terms of D's move, with those of the regularisers, and with the scores that they are steered by."""
        loss: dict[str, Tensor] = {}
        for name in self._consistent():
            seen = {"real": real, "fake": fake}[name]
            change = seen.again(self.consistency(seen.view.detach(), draw[f"consistency_{name}"])) - seen.score
            loss[f"consistency_{name}"] = getattr(self.config, f"consistency_{name}") * change.square().mean()
        if self.config.lecam > 0:
            pull = lecam(real.score, fake.score, self.mean_real, self.mean_fake).mean()
            loss["lecam"] = self.config.lecam * (self.rounds > 0) * pull
        watch = {"score_real": real.score.mean(), "score_fake": fake.score.mean(), "sign_real": real.score.sign().mean()}
        return Terms(terms.loss | loss, watch | terms.watch | ({} if self.augment is None else self.augment.watch()))

    def after_round(self, stats: Mapping[str, Tensor], clock: Clock) -> None:
        if "D/score_real" not in stats:  # D rests
            return
        if self.augment is not None:
            self.augment.adapt(stats["D/sign_real"], clock.nimg, clock.round)
        if self.config.lecam > 0:
            self.rounds += 1
            share = (1 / self.rounds).clamp(min=1 - self.config.lecam_decay)
            self.mean_real.lerp_(stats["D/score_real"].to(self.mean_real.dtype), share)
            self.mean_fake.lerp_(stats["D/score_fake"].to(self.mean_fake.dtype), share)

    def _consistent(self) -> tuple[str, ...]:
        """The images whose scores are compared."""
        if self.consistency is None:
            return ()
        return tuple(name for name in ("real", "fake") if getattr(self.config, f"consistency_{name}") > 0)
