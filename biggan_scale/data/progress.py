"""How far a long job is: a bar on a terminal, a line every ten seconds elsewhere; always on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType

import rich.console
import rich.progress

LINE_EVERY_S = 10.0
BAR_EVERY_S = 0.1


class Progress:
    """`with Progress("images") as progress: ... progress.show(done, total)`."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.began = self.shown = time.monotonic()
        self.bar: rich.progress.Progress | None = None
        if sys.stderr.isatty():
            columns = (*rich.progress.Progress.get_default_columns(), rich.progress.MofNCompleteColumn())
            self.bar = rich.progress.Progress(*columns, console=rich.console.Console(stderr=True), transient=True)
            self.task = self.bar.add_task(unit, total=None)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar:
            self.bar.stop()

    def show(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.shown < (BAR_EVERY_S if self.bar else LINE_EVERY_S):
            return
        self.shown = now
        if self.bar:
            self.bar.start()  # here, so that ranks which have nothing to show draw nothing
            self.bar.update(self.task, completed=done, total=total)
        else:
            speed = done / (now - self.began)
            print(f"{done} of {total} {self.unit}, {speed:.0f} a second, {(total - done) / speed:.0f} s to go", file=sys.stderr, flush=True)
