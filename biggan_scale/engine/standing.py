"""Standing statistics for a game: which batches `nn.standing` averages over, the same wherever they are made.

Snapshots, samples and exports of one checkpoint use the same batches, so they show the same model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from biggan_scale.config import RunConfig
from biggan_scale.dist.seeds import Noise
from biggan_scale.engine.untouched import untouched
from biggan_scale.games.base import Game
from biggan_scale.nn import standing

LARGEST_BATCH = 64  # those of training may not fit the device at hand


def make(game: Game, config: RunConfig, device: torch.device, dtype: torch.dtype, check: Callable[[], object] = lambda: None) -> str:
    """Replace the game's batch-norm statistics by standing ones, if the config asks for them; says which it has now.

    `check` is called before each batch, and may raise to break off.
    """
    size, number = min(config.batch_size, LARGEST_BATCH), config.ema.standing_batches

    def generate(batch: int) -> Tensor:
        check()
        noise = Noise(config.seed, range(batch * size, (batch + 1) * size), "standing", device, dtype)
        return game.generate(game.latents(noise))

    standing.accumulate(game, (partial(generate, batch) for batch in range(number)))
    return f"standing, {number} batches of {size}" if number else "running"


@contextmanager
def made(game: Game, config: RunConfig, device: torch.device, dtype: torch.dtype, check: Callable[[], object]) -> Iterator[None]:
    """Inside, the game is in eval mode and has its standing statistics; after, it is in training with its own again."""
    with untouched(game):
        make(game, config, device, dtype, check)
        yield
