"""A run that hangs ends with a name: which rank stands where, and every rank's stacks in the run directory.

The training thread says where it is (`at`). Two threads watch. The *pulse* tells the other ranks, through the process group's store,
that this process lives and where its training thread stands; when that has been silent for almost the limit, it also listens to the
others. The *watch* decides, from what it has in memory: it never waits for anybody. At the limit it writes all stacks, names the
rank that is behind or gives no sign of life, and ends the process with exit code 1. Should even these threads be stopped
(something holds the interpreter's lock), faulthandler's own timer, which needs no Python, writes the stacks to stderr and ends it.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import torch.distributed as dist

from biggan_scale.dist import process_group
from biggan_scale.dist.process_group import Ranks

TICKS = 10  # in a limit; and a tick is at most MAX_TICK_S
MAX_TICK_S = 1.0
SILENT_TICKS = 3  # without a sign of life
LISTEN_TICKS = 5  # before the limit


class Beat(NamedTuple):
    """What a rank tells of itself."""

    ticks: int  # counts up as long as the process lives
    steps: int  # counts up as the training thread gets on
    place: str


class Watchdog:
    """
    Args:
        limit_s: how long the training thread may be silent.
        ranks: this process's place. With several ranks the process group must be up.
        folder: where `rank-N.txt`, this rank's stacks, is written.
        verdict: called with the line that says who hangs, before the process ends.
    """

    def __init__(self, limit_s: float, ranks: Ranks, folder: Path, verdict: Callable[[str], None]) -> None:
        self._limit = limit_s
        self._tick = min(limit_s / TICKS, MAX_TICK_S)
        self._ranks = ranks
        self._folder = folder
        self._verdict = verdict
        self._place, self._steps, self._moved = "start", 0, time.monotonic()
        self._heard: dict[int, tuple[Beat, float]] = {}  # of each rank, its last new beat and when it came
        self._listening_since: float | None = None
        self._asked = False  # by `lost`
        self._pulsed = time.monotonic()  # when the store last answered
        self._stop = threading.Event()
        # by a connection of our own: the training thread's may be waiting on the other
        self._store = process_group.store(timedelta(seconds=60)) if ranks.world > 1 else None

    def __enter__(self) -> Watchdog:
        self.at("start")
        for work in (self._watch, self._pulse):
            threading.Thread(target=work, name=f"watchdog{work.__name__}", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        faulthandler.cancel_dump_traceback_later()

    def at(self, place: str) -> None:
        """The training thread got here."""
        self._place, self._steps, self._moved = place, self._steps + 1, time.monotonic()

    def lost(self) -> list[int]:
        """The ranks that have given no sign of life lately. Listens for some ticks; for when a collective has failed."""
        self._asked = True
        self._listening_since = self._listening_since or time.monotonic()
        self._stop.wait(LISTEN_TICKS * self._tick)
        return self._without_sign_of_life()

    # the threads

    def _watch(self) -> None:
        while not self._stop.wait(self._tick):
            faulthandler.dump_traceback_later(self._limit + 30, exit=True)
            silent = time.monotonic() - self._moved
            if silent >= self._limit - LISTEN_TICKS * self._tick:
                self._listening_since = self._listening_since or time.monotonic()
            elif not self._asked:
                self._listening_since = None
            if silent >= self._limit:
                self._end(silent)

    def _pulse(self) -> None:
        ticks = 0
        while not self._stop.wait(self._tick):
            ticks += 1
            mine = Beat(ticks, self._steps, self._place)
            self._heard[self._ranks.rank] = (mine, time.monotonic())
            if self._store is None:
                continue
            try:
                self._store.set(_key(self._ranks.rank), json.dumps(mine))
                if self._listening_since is not None:
                    self._listen(self._store)
            except RuntimeError:  # the store is gone: its keeper is dead, or everybody is leaving
                return
            self._pulsed = time.monotonic()

    def _listen(self, store: dist.Store) -> None:
        for rank in range(self._ranks.world):
            if rank != self._ranks.rank and store.check([_key(rank)]):
                beat = Beat(*json.loads(store.get(_key(rank))))
                if rank not in self._heard or self._heard[rank][0].ticks != beat.ticks:
                    self._heard[rank] = (beat, time.monotonic())

    # the end

    def _end(self, silent: float) -> None:
        path = self._folder / f"rank-{self._ranks.rank}.txt"
        line = f"no progress for {silent:.0f} s: {self._who()}; stacks in {path}"
        print(f"rank {self._ranks.rank}: {line}", file=sys.stderr, flush=True)
        try:
            self._verdict(line)
            self._folder.mkdir(parents=True, exist_ok=True)
            with path.open("w") as file:
                file.write(f"{line}\n")
                file.flush()
                faulthandler.dump_traceback(file, all_threads=True)
            self._stop.wait(2 * self._tick)  # a launcher ends the other ranks with the first: let them write theirs
        finally:  # also where the disk is full
            os._exit(1)

    def _who(self) -> str:
        if lost := self._without_sign_of_life():
            last = ", ".join(f"rank {rank}{self._last_place(rank)}" for rank in lost)
            return f"no sign of life from {last}; the others wait in {self._place}"
        beats = {rank: beat for rank, (beat, _) in self._heard.items()}
        if not beats:
            return f"this rank is in {self._place}"
        behind = min(beats.values(), key=lambda beat: beat.steps)
        ranks = [rank for rank, beat in sorted(beats.items()) if beat.steps == behind.steps]
        if len(ranks) == self._ranks.world:
            return f"{'every rank' if len(ranks) > 1 else 'this rank'} is in {behind.place}"
        return f"behind: {', '.join(f'rank {rank}' for rank in ranks)} in {behind.place}"

    def _without_sign_of_life(self) -> list[int]:
        now, allowed = time.monotonic(), SILENT_TICKS * self._tick
        if self._store is None:
            return []
        if now - self._pulsed > allowed and self._ranks.rank != 0:
            return [0]  # it keeps the store, or its node does
        since = self._listening_since or now
        return [r for r in range(self._ranks.world) if r != self._ranks.rank and now - max(since, self._heard_at(r)) > allowed]

    def _heard_at(self, rank: int) -> float:
        return self._heard[rank][1] if rank in self._heard else 0.0

    def _last_place(self, rank: int) -> str:
        return f" (last in {self._heard[rank][0].place})" if rank in self._heard else ""


def _key(rank: int) -> str:
    return f"watchdog/{rank}"
