"""Remote shards are in the cache before they are needed: those of the window in use and of the next one, and no more.

A few threads of the process that hands out the work download them; the processes that decode find them there, or wait for the
one that is under way. What fails here is met again, and told, by whoever needs the shard. The shards of both windows are kept from
being removed from the cache.
"""

from __future__ import annotations

import contextlib
import os
import threading

from biggan_scale.config.errors import UserError
from biggan_scale.data.order import GlobalOrder
from biggan_scale.data.remote import RemoteDataset

THREADS = 4


class Prefetcher:
    """Args:
    dataset: whose shards.
    order: in which they are read.
    """

    def __init__(self, dataset: RemoteDataset, order: GlobalOrder) -> None:
        self._dataset = dataset
        self._order = GlobalOrder(order.shard_sizes, order.seed, order.window)  # it remembers where it was: one for each thread
        self._stop_of_window = -1
        self._needed: list[int] = []  # shards of both windows, those needed first at the front
        self._todo: list[int] = []
        self._kept: dict[int, int] = {}  # shard: descriptor
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def at(self, position: int) -> None:
        """Positions are being read from here on."""
        if position < self._stop_of_window:
            return
        shards, self._stop_of_window = self._order.window_at(position)
        following, _ = self._order.window_at(self._stop_of_window)
        with self._changed:
            self._needed = list(dict.fromkeys([*shards.tolist(), *following.tolist()]))
            self._todo = [shard for shard in self._needed if shard not in self._kept]
            for shard in self._kept.keys() - set(self._needed):
                os.close(self._kept.pop(shard))
            self._changed.notify_all()
        while len(self._threads) < THREADS:  # not before there is something to do: by then the workers have been forked
            self._threads.append(threading.Thread(target=self._work, daemon=True, name="prefetch"))
            self._threads[-1].start()

    def close(self) -> None:
        """Begins nothing more; what is under way may end in its own time."""
        with self._changed:
            self._closed = True
            self._todo = self._needed = []
            while self._kept:
                os.close(self._kept.popitem()[1])
            self._changed.notify_all()

    def _work(self) -> None:
        while (shard := self._next()) is not None:
            descriptor = None
            with contextlib.suppress(UserError):
                descriptor = self._dataset.fetch(shard)
            with self._changed:
                if descriptor is None:
                    continue
                if shard in self._needed and shard not in self._kept:
                    self._kept[shard] = descriptor
                else:
                    os.close(descriptor)

    def _next(self) -> int | None:
        """Waits for a shard to fetch; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._todo)
            return None if self._closed else self._todo.pop(0)
