"""Exponential moving averages of the weights that are used after training.

    beta = 0.5 ** (images per round / half life),   average <- average + (1 - beta) (weights - average)

`decay` gives beta directly (BigGAN: 0.9999 per round). Before `start` the average is a plain copy. With `rampup` r the half life
is at most r * nimg, so that a young average does not remember the initialisation (StyleGAN2-ADA).
Buffers are averaged too (batch-norm statistics then belong to the averaged weights) or copied; integers are always copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from biggan_scale.config import EmaConfig
from biggan_scale.games.base import Game


class Ema:
    def __init__(self, config: EmaConfig, game: Game) -> None:
        self.config = config
        self._live = dict(_named_state(game))
        self._weights = {name for part, module in game.averaged().items() for name in _prefixed(part, module.named_parameters())}
        self.average = {name: tensor.detach().clone() for name, tensor in self._live.items()}

    def beta(self, nimg: int, images_per_round: int) -> float:
        """The weight of the past at this moment; 0 copies."""
        start = self.config.start.images(images_per_round)
        assert start is not None, "the loader refuses times here"
        if nimg < start:
            return 0.0
        if self.config.half_life is None:
            assert self.config.decay is not None, "the config has one of the two"
            return self.config.decay
        half_life = float(self.config.half_life.images(images_per_round) or 0)
        if self.config.rampup is not None:
            half_life = min(half_life, self.config.rampup * nimg)
        return 0.5 ** (images_per_round / max(half_life, 1e-8))

    @torch.no_grad()
    def update(self, nimg: int, images_per_round: int) -> None:
        beta = self.beta(nimg, images_per_round)
        averaged = [name for name, tensor in self._live.items() if self._is_averaged(name, tensor)]
        torch._foreach_lerp_([self.average[n] for n in averaged], [self._live[n].detach() for n in averaged], 1 - beta)
        for name in self._live.keys() - set(averaged):
            self.average[name].copy_(self._live[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the game's averaged modules hold the averages; after, their own weights again."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict[str, Tensor]:
        return self.average

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, tensor in self.average.items():
            tensor.copy_(state[name])

    def _is_averaged(self, name: str, tensor: Tensor) -> bool:
        return tensor.is_floating_point() and (name in self._weights or self.config.buffers == "average")

    @torch.no_grad()
    def _swap(self) -> None:
        for name, live in self._live.items():
            average = self.average[name]
            live.data, self.average[name] = average, live.data


def _named_state(game: Game) -> Iterator[tuple[str, Tensor]]:
    for part, module in game.averaged().items():
        yield from _prefixed(part, module.named_parameters()).items()
        yield from _prefixed(part, module.named_buffers()).items()


def _prefixed(part: str, named: Iterator[tuple[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{part}.{name}": tensor for name, tensor in named}
