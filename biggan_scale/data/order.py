"""The one order in which samples are seen: a pure function of (seed, window, shard sizes), for any position of an endless stream.

The stream is one epoch after another, and in each epoch every sample comes exactly once. Within an epoch the shards are
permuted and taken `window` at a time; the samples of a window are shuffled together. So a seek costs a window, not an epoch, and
at any time a reader touches at most two windows of shards, whatever the size of the data set.

A position is one integer, counted by whoever consumes the samples. A global batch is a range of positions, a rank's part a slice
of it; ranges run over the end of an epoch, so that nothing is dropped and no rank has less work than another.

Permutations are sorted Philox words rather than numpy's shuffle: numpy guarantees the words of a bit generator for ever, but
not how its Generator shuffles with them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def permutation(num: int, seed: int, epoch: int = 0, stream: int = 0) -> NDArray[np.int64]:
    """(num,) the numbers 0..num-1 in an order that depends on (seed, epoch, stream) alone."""
    words = np.random.Philox(key=np.array([seed, epoch], np.uint64), counter=np.array([0, 0, 0, stream], np.uint64)).random_raw(num)
    order = np.argsort(words)  # several times as fast as a stable sort, and the same unless two words are equal
    ordered = words[order]
    if (ordered[1:] == ordered[:-1]).any():
        order = np.argsort(words, kind="stable")
    return order.astype(np.int64, copy=False)


class GlobalOrder:
    """Which sample stands at which position of the endless stream.

    Args:
        shard_sizes: number of samples of each shard; zeros are allowed.
        seed: of the shuffle, 0 <= seed < 2**64.
        window: how many shards are shuffled together. More mixes better and keeps more shards in use at a time.

    Attributes:
        num_samples: the length of an epoch.
    """

    def __init__(self, shard_sizes: Sequence[int] | NDArray[np.int64], seed: int = 0, window: int = 16) -> None:
        self.shard_sizes = np.asarray(shard_sizes, np.int64)
        self.seed = seed
        self.window = window
        self.num_samples = int(self.shard_sizes.sum())
        if self.num_samples < 1:
            raise ValueError("an order needs at least one sample")
        if window < 1:
            raise ValueError(f"window is {window}; at least 1 shard is needed")
        self._epoch = -1
        self._window = (-1, -1)

    def epoch_of(self, position: int) -> int:
        """The epoch, from 0, that a position lies in."""
        return position // self.num_samples

    def window_at(self, position: int) -> tuple[NDArray[np.int64], int]:
        """The shards of the window that a position lies in, and the position at which the next window begins."""
        epoch, place = divmod(position, self.num_samples)
        self._permute_shards(epoch)
        window = self._window_of(place)
        return self._shards_of(window), epoch * self.num_samples + int(self._starts[window + 1])

    def positions(self, start: int, stop: int) -> NDArray[np.int64]:
        """(stop - start, 2) the shard and the index within it of the samples at positions start, ..., stop - 1."""
        if not 0 <= start <= stop:
            raise ValueError(f"positions {start} to {stop}: 0 <= start <= stop is needed")
        out = np.empty((stop - start, 2), np.int64)
        position = start
        while position < stop:
            epoch, place = divmod(position, self.num_samples)
            taken = self._samples_from(epoch, place, stop - position)
            out[position - start : position - start + len(taken)] = taken
            position += len(taken)
        return out

    def _samples_from(self, epoch: int, place: int, num: int) -> NDArray[np.int64]:
        """(num or fewer, 2) the samples from a place of an epoch on, up to the end of its window."""
        self._permute_shards(epoch)
        window = self._window_of(place)
        if self._window != (epoch, window):
            self._open_window(epoch, window)
        begin = place - int(self._starts[window])
        samples = self._shuffled[begin : begin + num]  # as counted through the window's shards, one after the other
        which = np.searchsorted(self._ends, samples, side="right")
        return np.stack([self._members[which], samples - self._firsts[which]], axis=1)

    def _open_window(self, epoch: int, window: int) -> None:
        self._members = self._shards_of(window)
        sizes = self.shard_sizes[self._members]
        self._ends = np.cumsum(sizes)
        self._firsts = self._ends - sizes
        self._shuffled = permutation(int(sizes.sum()), self.seed, epoch, stream=window + 1)  # stream 0 permutes the shards
        self._window = (epoch, window)

    def _window_of(self, place: int) -> int:
        return int(np.searchsorted(self._starts, place, side="right")) - 1

    def _shards_of(self, window: int) -> NDArray[np.int64]:
        return self._shards[window * self.window : (window + 1) * self.window]

    def _permute_shards(self, epoch: int) -> None:
        if self._epoch != epoch:
            self._shards = permutation(len(self.shard_sizes), self.seed, epoch)
            sizes = self.shard_sizes[self._shards]
            window_sizes = np.add.reduceat(sizes, np.arange(0, len(sizes), self.window))
            self._starts = np.concatenate([[0], np.cumsum(window_sizes)])  # places at which the windows begin, and the epoch's end
            self._epoch = epoch
