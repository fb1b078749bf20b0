"""Checkpoints are written while training goes on.

The state is copied between two rounds; a thread writes, seals and publishes the copy (`checkpoint.py`) and then deletes what need
not be kept. One save is on its way at most: the next waits for it. What goes wrong is raised at the next round, or by `wait`,
which is also how a run that must leave makes sure that its last checkpoint is there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from biggan_scale.engine import checkpoint
from biggan_scale.engine.checkpoint import TrainingState


class Saver:
    """Only rank 0 has one.

    Args:
        folder: the run's checkpoints/.
        keep: how many valid checkpoints stay.
        pinned: asked after each save: which others stay too.
        say: gets a line for people, from the writing thread.
    """

    def __init__(self, folder: Path, keep: int, say: Callable[[str], None], pinned: Callable[[], Collection[Path]] = lambda: ()) -> None:
        self._folder = folder
        self._keep = keep
        self._pinned = pinned
        self._say = say
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(self, state: TrainingState, about: Mapping[str, Any]) -> None:
        """Copy the state and begin to write it; first waits for the save before, and raises what that one met."""
        self.wait()
        self._thread = threading.Thread(target=self._write, args=(state.copied(), dict(about)), name="saver")
        self._thread.start()

    def check(self) -> None:
        """Raises:
        EnvironmentFault: a save has failed since this was last asked.
        """
        error, self._error = self._error, None
        if error is not None:
            raise error

    def wait(self) -> None:
        """Until nothing is on its way; raises like `check`."""
        self.close()
        self.check()

    def close(self) -> None:
        """Until nothing is on its way."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _write(self, state: TrainingState, about: dict[str, Any]) -> None:
        try:
            path = checkpoint.save(self._folder, state, about)
            checkpoint.retain(self._folder, self._keep, self._pinned())
            self._say(f"saved {path}")
        except BaseException as error:
            self._error = error
