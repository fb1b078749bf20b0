"""One move: one optimizer step of one player, accumulated over micro-batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum

import torch
from torch import Tensor, nn

from biggan_scale.dist.seeds import Noise
from biggan_scale.engine.optim import PlayerOptimizer
from biggan_scale.engine.parallel.ddp import Ddp
from biggan_scale.engine.precision import Precision
from biggan_scale.games.base import Batch, Game, Move
from biggan_scale.nn import spectral_norm


class Outcome(Enum):
    """How a move ended."""

    STEPPED = "stepped"
    RESCALED = "rescaled"  # fp16 overflowed: no step, a smaller loss scale next time; part of normal operation
    NOT_FINITE = "not finite"  # no step, and nothing to blame but the numbers


class Mover:
    """Carries out moves. Holds no state of its own: everything it changes belongs to the game, the optimizer or the precision."""

    def __init__(
        self, game: Game, optimizers: dict[str, PlayerOptimizer], parallel: Ddp, precision: Precision, seed: int, device: torch.device
    ) -> None:
        self.game = game
        self.optimizers = optimizers
        self.parallel = parallel
        self.precision = precision
        self.seed = seed
        self.device = device

    def play(self, move: Move, batches: Sequence[Batch]) -> tuple[dict[str, Tensor], Outcome]:
        """Make the move on this rank's micro-batches of one global batch.

        Returns the terms' means over the micro-batches of this rank as "move/term", and the outcome. Without a step the player
        keeps its weights and the game its buffers. All ranks decide alike: gradients are reduced before they are judged.
        """
        optimizer = self.optimizers[move.player]
        buffers = [buffer.clone() for buffer in self.game.buffers()]
        spectral_norm.refresh(self.game)
        with _training(list(optimizer.parameters.values())):
            stats = self._accumulate(move, batches)
        self.parallel.reduce(move, optimizer.parameters.values())
        self.precision.unscale(move.player, optimizer.adam)
        self.game.add_gradients(move)
        norm = optimizer.grad_norm()
        stats[f"{move.name}/grad_norm"] = norm
        if norm.isfinite():
            outcome = Outcome.STEPPED
            optimizer.clip(norm)
            self.precision.step(move.player, optimizer.adam)
            self.game.after_step(move)
        else:
            outcome = Outcome.RESCALED if self.precision.skip(move.player) else Outcome.NOT_FINITE
            for buffer, before in zip(self.game.buffers(), buffers, strict=True):
                buffer.copy_(before)
        optimizer.adam.zero_grad(set_to_none=True)
        return stats, outcome

    def _accumulate(self, move: Move, batches: Sequence[Batch]) -> dict[str, Tensor]:
        stats: dict[str, Tensor] = {}
        share = 1 / len(batches)
        for i, batch in enumerate(batches):
            noise = Noise(self.seed, batch.positions, move.name, self.device, self.precision.dtype)
            draw = self.game.draw(move, batch, noise)
            with self.parallel.sync(move, last=i == len(batches) - 1):
                with self.precision.autocast():
                    terms = self.parallel.terms(move, batch, draw)
                loss = torch.stack(list(terms.loss.values())).sum()
                self.precision.scale(move.player, loss * share).backward()
            for name, value in (terms.loss | terms.watch | {"loss": loss}).items():
                key = f"{move.name}/{name}"
                stats[key] = stats.get(key, 0) + value.detach() * share
        return stats


@contextmanager
def _training(parameters: Sequence[Tensor]) -> Iterator[None]:
    """Only these parameters ask for gradients; the engine keeps all others frozen."""
    for parameter in parameters:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False)


def freeze(game: nn.Module) -> None:
    """Between moves nobody asks for gradients."""
    game.requires_grad_(False)
