"""One optimizer per player, its settings, and its state under parameter names.

torch numbers parameters; we name them, so that a checkpoint can be read, compared and loaded whatever the order of construction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from biggan_scale.config import OptimizerConfig
from biggan_scale.engine.parallel.ddp import Ddp
from biggan_scale.games.base import Game


class PlayerOptimizer:
    """Adam (with decoupled weight decay) on one player's parameters, its learning rate a function of images seen.

    Args:
        config: lr schedule, betas, eps, weight decay.
        parameters: name in the game -> parameter.
        parallel: knows who steps them, and who keeps the moments.
    """

    def __init__(self, config: OptimizerConfig, parameters: Mapping[str, Tensor], parallel: Ddp) -> None:
        self.config = config
        self.parameters = dict(parameters)
        self.parallel = parallel
        self.adam = parallel.adamw(
            list(self.parameters.values()),
            lr=torch.finfo(torch.float32).tiny,  # set by `set_time` before every round
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
            fused=True,
        )
        keeper = parallel.kept(self.adam)
        for parameter in keeper.param_groups[0]["params"]:  # now, not at the first step: a checkpoint has one shape from the start
            keeper.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        self.moments = {name: keeper.state[p] for name, p in self.parameters.items() if p in keeper.state}  # those this rank keeps

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
        """Flat: "parameter/moment" -> tensor, the live ones. Under ZeRO all ranks must call it; rank 0 gets copies, the others nothing."""
        moments = self.parallel.whole(self.parameters, self.moments)
        return {f"{name}/{key}": value for name, of_parameter in moments for key, value in of_parameter.items()}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of what `state_dict` has."""
        shapes: dict[str, tuple[int, ...]] = {}
        for name, parameter in self.parameters.items():
            shape = tuple(parameter.shape)
            shapes |= {f"{name}/step": (), f"{name}/exp_avg": shape, f"{name}/exp_avg_sq": shape}
        return shapes

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, of_parameter in self.moments.items():
            for key, moment in of_parameter.items():
                moment.copy_(state[f"{name}/{key}"])


def player_parameters(game: Game) -> dict[str, dict[str, Tensor]]:
    """player -> {name in the game: parameter}."""
    names = {id(p): name for name, p in game.named_parameters()}
    return {player: {names[id(p)]: p for module in modules for p in module.parameters()} for player, modules in game.players().items()}


def make_optimizers(configs: Mapping[str, Any], game: Game, parallel: Ddp) -> dict[str, PlayerOptimizer]:
    return {
        player: PlayerOptimizer(game.optimizer(player, configs[player]), parameters, parallel)
        for player, parameters in player_parameters(game).items()
    }
