"""Signals become a flag; the ranks agree on it at the end of a round, and between the moves of a start's first one, which may compile
for minutes; nothing else happens inside a handler.

SIGTERM, SIGUSR2 (Slurm's warning) and SIGINT (Ctrl-C) ask for an orderly stop: save, then exit 75. A second SIGINT leaves at once,
unless it comes with the first: Slurm signals every process of a step, and torchrun's agent passes on to its workers what it gets.
What saves nothing on its way (sampling, evaluation) asks by `check` between its batches, and publishes only what is complete.
"""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

from biggan_scale.config.errors import Preempted
from biggan_scale.dist import process_group

_STOP = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)
SAME_S = 1.0  # SIGINTs that are no further apart are one


class StopFlag:
    """Install with `with StopFlag() as stop:`; ask with `stop.agreed()`."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._since = 0.0
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopFlag:
        self._previous = {number: signal.signal(number, self._handle) for number in _STOP}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def agreed(self) -> signal.Signals | None:
        """The signal that any rank has received, or None; the same answer on every rank."""
        (number,) = process_group.agree_max([int(self.received or 0)])
        return signal.Signals(number) if number else None

    def check(self) -> None:
        """Raises Preempted on every rank where any has received a signal. All ranks call it."""
        self._leave(self.agreed())

    def check_here(self) -> None:
        """The same for this rank alone, while the others wait for what it computes."""
        self._leave(self.received)

    def _leave(self, signal: signal.Signals | None) -> None:
        if signal is not None:
            raise Preempted(f"{signal.name}: stopped before the end, and nothing was written; run the same command again")

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if number == signal.SIGINT and self.received == signal.SIGINT and now - self._since > SAME_S:
            os._exit(130)
        if self.received != number:
            self.received, self._since = signal.Signals(number), now
