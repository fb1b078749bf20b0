"""One optimizer per player, its settings, and its state under parameter names.

torch numbers parameters; we name them, so that a checkpoint can be read, compared and loaded whatever the order of construction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

from biggan_scale.config import OptimizerConfig
from biggan_scale.games.base import Game


class PlayerOptimizer:
    """Adam (with decoupled weight decay) on one player's parameters, its learning rate a function of images seen.

    Args:
        config: lr schedule, betas, eps, weight decay.
        parameters: name in the game -> parameter.
    """

    def __init__(self, config: OptimizerConfig, parameters: Mapping[str, Tensor]) -> None:
        self.config = config
        self.parameters = dict(parameters)
        self.adam = AdamW(
            list(self.parameters.values()),
            lr=torch.finfo(torch.float32).tiny,  # set by `set_time` before every round
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
            fused=True,
        )
        for parameter in self.adam.param_groups[0]["params"]:  # now, not at the first step: a checkpoint has one shape from the start
            self.adam.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }

    def set_time(self, nimg: int, images_per_round: int) -> float:
        """Set the learning rate of this moment and return it."""
        lr = self.config.lr.at(nimg, images_per_round)
        for group in self.adam.param_groups:
            group["lr"] = lr
        return lr

    def grad_norm(self) -> Tensor:
        """The 2-norm of all gradients as one scalar tensor; NaN or inf if any of them is."""
        grads = [p.grad for p in self.parameters.values() if p.grad is not None]
        return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))

    def clip(self, norm: Tensor) -> None:
        """Scale gradients down to the configured norm, if there is one. `norm` is finite."""
        if self.config.clip_grad_norm is not None:
            grads = [p.grad for p in self.parameters.values() if p.grad is not None]
            torch._foreach_mul_(grads, (self.config.clip_grad_norm / norm).clamp(max=1.0))

    def state_dict(self) -> dict[str, Tensor]:
        """Flat: "parameter/moment" -> tensor, the live ones."""
        return {f"{name}/{key}": value for name, p in self.parameters.items() for key, value in self.adam.state[p].items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, moment in self.state_dict().items():
            moment.copy_(state[name])


def player_parameters(game: Game) -> dict[str, dict[str, Tensor]]:
    """player -> {name in the game: parameter}."""
    names = {id(p): name for name, p in game.named_parameters()}
    return {player: {names[id(p)]: p for module in modules for p in module.parameters()} for player, modules in game.players().items()}


def make_optimizers(configs: Mapping[str, Any], game: Game) -> dict[str, PlayerOptimizer]:
    return {
        player: PlayerOptimizer(game.optimizer(player, configs[player]), parameters)
        for player, parameters in player_parameters(game).items()
    }
