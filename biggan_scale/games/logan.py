"""LOGAN: latent optimisation (Wu et al. 2019, 1912.00953). Before G draws, z takes a step towards what D takes for real.

    g = d D(G(z)) / dz,    dz = alpha (beta I + g g^T)^-1 g = alpha g / (beta + |g|^2),    z' = clip(z + dz, -1, 1)

That is a natural gradient step with the empirical Fisher matrix, damped (section 4). Both players see G(z') and learn through dz as well:
D that the step it suggests will be held against it, G the same from the other side, which is where the better dynamics come from
(section 3). |dz|^2 with a weight keeps the steps small. A share of the latents stays where it is, so that G knows the prior too, from
which samples are drawn after training: there is no step then.

All of `gan` applies. A round costs a second forward and a second derivative of both networks in each move.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from biggan_scale.config import ConfigError, ImageSpec
from biggan_scale.dist.seeds import Noise
from biggan_scale.games.base import Batch, Draw, Move, Terms
from biggan_scale.games.gan import Config as GanConfig
from biggan_scale.games.gan import Gan
from biggan_scale.latent.uniform import Uniform


@dataclass(frozen=True)
class Config(GanConfig):
    alpha: float = 0.9  # length of the step where |g| is large
    beta: float = 5.0  # damping
    share: float = 0.8  # of the latent vectors that take the step
    step_weight: float = 300.0  # w_r: weight of |dz|^2 in both losses

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.alpha, self.beta) <= 0:
            raise ValueError("alpha and beta must be above 0")
        if not 0 < self.share <= 1:
            raise ValueError(f"share {self.share} must be above 0 and at most 1")
        if self.step_weight < 0:
            raise ValueError(f"step_weight {self.step_weight} must not be negative")


class Logan(Gan):
    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__(config, spec)
        if not isinstance(self.prior, Uniform):
            raise ConfigError(f"game.prior: type {config.prior.type}, but latents are clipped to [-1, 1]; take uniform")

    def draw(self, move: Move, batch: Batch, noise: Noise) -> Draw:
        return super().draw(move, batch, noise) | {"step": noise.uniform(1)}

    def discriminator_loss(self, batch: Batch, draw: Draw) -> Terms:
        draw, step = self.optimised(draw)
        return self._with_step(self.told_apart(batch, self.generate(draw), draw), step)

    def generator_loss(self, draw: Draw) -> Terms:
        draw, step = self.optimised(draw)
        return self._with_step(super().generator_loss(draw), step)

    def optimised(self, draw: Draw) -> tuple[Draw, Tensor]:
        """The draw with z' in place of z, and dz (B, dim); differentiable in both networks."""
        z = draw["z"].detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.taken_for_real(draw | {"z": z}).sum(), z, create_graph=True)
        step = self.config.alpha * gradient / (self.config.beta + gradient.square().sum(1, keepdim=True))
        step = step * (draw["step"] < self.config.share)
        return draw | {"z": (draw["z"] + step).clamp(-1, 1)}, step

    def _with_step(self, terms: Terms, step: Tensor) -> Terms:
        squared = step.square().sum(1).mean()
        return Terms(terms.loss | {"step": self.config.step_weight * squared}, terms.watch | {"step_length": squared.detach().sqrt()})
