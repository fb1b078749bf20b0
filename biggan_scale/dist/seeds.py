"""Stateless randomness: what a sample draws depends on (run seed, stream, position) and on nothing else.

A position is the place of a training image in the endless data stream; a stream is a name such as "D" or "snapshot". Every
sample has a generator of its own, so neither the number of ranks, nor the micro-batch, nor a restart changes a single draw, and
no random state is ever saved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor


def derive_seed(run_seed: int, stream: str, position: int = 0) -> int:
    """A 63-bit seed for one stream of one sample."""
    digest = hashlib.blake2b(f"{run_seed}/{stream}/{position}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class Noise:
    """The random source of one micro-batch: B samples, each with its own generator, drawn on the CPU and moved to `device`.

    Successive draws continue each sample's stream, so the order of draws is part of the definition.

    Args:
        run_seed: the run's seed.
        positions: (B,) positions of the samples in the data stream (or sample numbers when generating).
        stream: the name of the stream.
        device, dtype: of the tensors returned by `normal` and `uniform`.
    """

    def __init__(
        self, run_seed: int, positions: Sequence[int], stream: str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self.device = torch.device(device)
        self.dtype = dtype
        self._generators = [Generator().manual_seed(derive_seed(run_seed, stream, position)) for position in positions]

    def __len__(self) -> int:
        return len(self._generators)

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape) of N(0, 1)."""
        return self._draw(lambda generator: torch.randn(shape, generator=generator)).to(self.dtype)

    def uniform(self, *shape: int) -> Tensor:
        """(B, *shape) uniform in [0, 1)."""
        return self._draw(lambda generator: torch.rand(shape, generator=generator)).to(self.dtype)

    def integers(self, high: int, *shape: int) -> Tensor:
        """(B, *shape) int64 uniform in {0, ..., high - 1}."""
        return self._draw(lambda generator: torch.randint(high, shape, generator=generator))

    def _draw(self, one: Callable[[Generator], Tensor]) -> Tensor:
        return torch.stack([one(generator) for generator in self._generators]).to(self.device)
