"""To look at a game without leaving a trace: eval mode, no gradients, and every buffer afterwards as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from biggan_scale.games.base import Game


@contextmanager
def untouched(game: Game) -> Iterator[None]:
    """Inside, the game is in eval mode; after, it is in training again, with the buffers it had."""
    buffers = [buffer.clone() for buffer in game.buffers()]
    game.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for buffer, before in zip(game.buffers(), buffers, strict=True):
            buffer.copy_(before)
        game.train()
