"""Data parallelism by torch's DistributedDataParallel, one wrapper per player.

What is wrapped is not a network but the player's *objective*: a module whose `forward` is `game.loss` and which registers only
that player's parameters. Several passes through a network, a second derivative and the other player's networks inside one forward
are then invisible to DDP, and its hooks see exactly the parameters that the move trains.

Buffers are kept equal by construction (same seeds, synchronised statistics), so DDP's per-forward broadcast of buffers is off.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW, Optimizer

from biggan_scale.dist import process_group, waiting
from biggan_scale.games.base import Batch, Draw, Game, Move, Terms


class Objective(nn.Module):
    """What one player minimises, as a module that owns just that player's modules."""

    def __init__(self, game: Game, modules: Iterable[nn.Module]) -> None:
        super().__init__()
        self.modules_of_player = nn.ModuleList(modules)
        self._game = (game,)  # in a tuple: nn.Module must not register the whole game

    def forward(self, move: Move, batch: Batch, draw: Draw) -> Terms:
        return self._game[0].loss(move, batch, draw)


Moments = Mapping[str, Tensor]  # of one parameter: Adam's "step", "exp_avg" and "exp_avg_sq"


class Ddp:
    """The seam of parallel strategies: terms, sync and reduce of a move; adamw, kept and whole of a player's optimizer.

    Args:
        game: on its device, every player's parameters requiring gradients (DDP refuses a frozen module at wrap time).
    """

    def __init__(self, game: Game) -> None:
        self._objectives: dict[str, nn.Module] = {}
        self._last_gradient = 0.0  # when this rank had computed it; what remains of a backward is waiting for the others
        for player, modules in game.players().items():
            objective = Objective(game, modules)
            self._objectives[player] = self._wrapped(objective) if process_group.world() > 1 else objective

    def terms(self, move: Move, batch: Batch, draw: Draw) -> Terms:
        """The player's objective on one micro-batch."""
        return self._objectives[move.player](move, batch, draw)

    @contextmanager
    def sync(self, move: Move, *, last: bool) -> Iterator[None]:
        """Around forward and backward of a micro-batch: gradients travel on the last one only.

        A partial move never uses DDP's hooks: they wait for every parameter. `reduce` does it instead.
        """
        objective = self._objectives[move.player]
        if not isinstance(objective, DistributedDataParallel):
            yield
        elif move.partial or not last:
            with objective.no_sync():
                yield
        else:
            yield
            waiting.add(time.perf_counter() - self._last_gradient)

    def reduce(self, move: Move, parameters: Iterable[Tensor]) -> None:
        """After the last backward of a move: average what DDP's hooks have not."""
        if move.partial and process_group.world() > 1:
            average([p.grad for p in parameters if p.grad is not None])

    def adamw(self, parameters: list[Tensor], **settings: Any) -> Optimizer:
        """What steps a player's parameters, a list alike on all ranks."""
        return AdamW(parameters, **settings)

    def kept(self, optimizer: Optimizer) -> Optimizer:
        """Of what `adamw` made, the optimizer that has the moments this rank keeps: here, all."""
        return optimizer

    def whole(self, parameters: Mapping[str, Tensor], moments: Mapping[str, Moments]) -> Iterator[tuple[str, Moments]]:
        """On rank 0 each parameter's name with all its moments. All ranks must go through it together.

        Args:
            parameters: all of the player's by name, in one order on all ranks.
            moments: of those parameters whose moments this rank keeps, the live ones.
        """
        yield from moments.items()

    def _wrapped(self, objective: Objective) -> DistributedDataParallel:
        for parameter in objective.parameters():
            parameter.register_hook(self._gradient_computed)
        if "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters:  # so called since torch 2.13
            return DistributedDataParallel(objective, forward_sync_buffers=False)
        return DistributedDataParallel(objective, broadcast_buffers=False)

    def _gradient_computed(self, gradient: Tensor) -> None:
        self._last_gradient = time.perf_counter()


def average(tensors: list[Tensor]) -> None:
    """Replace each tensor by its mean over ranks, in one message. The list must be alike on all ranks."""
    if not tensors:
        return
    flat = torch.cat([t.reshape(-1) for t in tensors])
    with waiting.waiting():
        dist.all_reduce(flat)
    flat /= process_group.world()
    for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))
