"""Batches for training: ranges of positions in, images, labels and positions out, in order, whatever the number of workers.

The loader has no state. Which samples a range of positions holds is `GlobalOrder`'s to say, whether a sample is flipped depends
on (seed, position), and the position itself is counted by the consumer; so neither workers nor reading ahead nor a restart can
change what is seen. Each worker prepares whole batches, in turn. In place of a bad image comes the next good one of its shard,
which is told and counted, and an error beyond a share; a shard that is missing or cut is an error at once.
"""

from __future__ import annotations

import atexit
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from itertools import cycle, islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biggan_scale.data.bad_samples import BadSamples
from biggan_scale.data.index import Dataset
from biggan_scale.data.order import GlobalOrder
from biggan_scale.data.prefetch import Prefetcher
from biggan_scale.data.reader import Reader
from biggan_scale.data.remote import RemoteDataset
from biggan_scale.data.workers import Request, Worker, empty_pixels, prepare

BATCHES_AHEAD = 2  # per worker: one in hand, one waiting

# A request, its pixels (B, H, W, C) and labels (B,), and what was wrong with each sample that was replaced.
Prepared = tuple[Request, NDArray[np.uint8], NDArray[np.int64], list[str]]


class LoadedBatch(NamedTuple):
    """images: (B, C, H, W) uint8, channels last in memory. labels: (B,) int64, None without classes. positions: (B,) int64."""

    images: Tensor
    labels: Tensor | None
    positions: Tensor


class Loader:
    """Reads ranges of the global order.

    Args:
        dataset: the shards.
        order: made from `dataset.shard_sizes`.
        workers: processes that read and decode; 0 does it in this one.
        flip: whether images are mirrored left to right with probability 1/2.
        seed: of the flips.
        max_bad_share, bad_told: of the samples, how many may be replaced by a neighbour, 0: none; whether they are told. See `BadSamples`.

    Attributes:
        bad: what was replaced so far.
    """

    def __init__(
        self,
        dataset: Dataset,
        order: GlobalOrder,
        *,
        workers: int,
        flip: bool,
        seed: int,
        max_bad_share: float = 0.0,
        bad_told: bool = True,
    ) -> None:
        self.dataset = dataset
        self.order = order
        self.workers = workers
        self.flip = flip
        self.seed = seed
        self.bad = BadSamples(max_bad_share, told=bad_told)
        self._prefetcher = Prefetcher(dataset, order) if isinstance(dataset, RemoteDataset) else None
        self._running: list[Worker] = []

    def ranges(self, ranges: Iterable[tuple[int, int]]) -> Generator[LoadedBatch, None, None]:
        """The batch of each range (start, stop) of positions, in order. `ranges` may be endless; workers read it ahead.

        Workers start with the first batch and end after the last, or with `close`, or with the thread that took the first batch.

        Raises: DataError, naming shard and sample.
        """
        reader = Reader(self.dataset, max_open=2 * self.order.window)
        requests = (self._request(start, stop) for start, stop in ranges)
        prepared = self._prepared_ahead(reader, requests) if self.workers else self._prepared(reader, requests)
        for request, pixels, labels, replaced in prepared:
            self.bad.count(len(labels), replaced)
            images = torch.from_numpy(pixels).permute(0, 3, 1, 2)  # (B, H, W, C) -> (B, C, H, W), nothing is moved
            positions = torch.arange(request.start, request.start + len(images))
            yield LoadedBatch(images, torch.from_numpy(labels) if self.dataset.classes else None, positions)

    def close(self) -> None:
        """Ends all workers."""
        self._end(list(self._running))
        if self._prefetcher is not None:
            self._prefetcher.close()
        atexit.unregister(self.close)

    def _request(self, start: int, stop: int) -> Request:
        if self._prefetcher is not None:
            self._prefetcher.at(start)
        return Request(start, self.order.positions(start, stop), self.seed if self.flip else None)

    def _prepared(self, reader: Reader, requests: Iterator[Request]) -> Iterator[Prepared]:
        for request in requests:
            pixels = empty_pixels((len(request.samples), self.dataset.height, self.dataset.width, self.dataset.channels))
            yield request, pixels, *prepare(reader, request, pixels, doing=np.empty(2, np.int64))

    def _prepared_ahead(self, reader: Reader, requests: Iterator[Request]) -> Iterator[Prepared]:
        atexit.register(self.close)  # before multiprocessing's own end, which would wait for workers for ever
        workers = [Worker(number, reader) for number in range(self.workers)]
        self._running += workers
        try:
            pending: deque[tuple[Worker, Request]] = deque()
            for worker, request in zip(cycle(workers), islice(requests, BATCHES_AHEAD * len(workers)), strict=False):
                worker.send(request)
                pending.append((worker, request))
            while pending:
                worker, request = pending.popleft()
                yield request, *worker.receive()
                for following in islice(requests, 1):  # to the worker that has just become free, which keeps the turns
                    worker.send(following)
                    pending.append((worker, following))
        finally:
            self._end(workers)

    def _end(self, workers: list[Worker]) -> None:
        for worker in workers:
            if worker in self._running:
                self._running.remove(worker)
                worker.end()
