"""Faults on order: "kill at round 7 on rank 1; EIO at fsync 3".

In a process that has loaded the project, `install(text)`. For a command, in a line:

    process = support.command.train("tiny", ranks=2, faults="stop at round 5 on rank 1")

which runs this module in place of `biggan_scale.cli`, under whatever launcher, with the text in the environment. Nothing of the project
knows of it: a point is a function that is replaced in the process.

A fault is ACTION at POINT NUMBER [on rank RANK]; several are parted by ";". A fault strikes once.

points      round N          before round N is played (the clock counts from 0)
            move N           before the N-th move of this start is played (from 1)
            fsync N, ...     the N-th call of that function of `os` (from 1). A save makes 7 fsyncs and 1 rename.
actions     kill, stop, TERM, USR2, INT   a signal to itself; several may be given at once: TERM+INT
            EIO, ENOSPC, ...              an OSError
            crash                         an exception that is nobody's: a bug
            memory                        asks torch for more than there is
            worker                        kill -9 of a data worker of this rank
            hang                          sleeps for ever
            hold                          makes the file that $BIGGAN_SCALE_TEST_HOLD names, and waits until it is gone
            nan                           of a round: its images are not numbers
            skip                          of a round: time passes, and nothing else; what "nan" should come to
            slow                          from this round on each takes half a second more
"""

from __future__ import annotations

import dataclasses
import errno
import math
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

FAULTS = "BIGGAN_SCALE_TEST_FAULTS"
HOLD = "BIGGAN_SCALE_TEST_HOLD"
OF_TRAINING = ("round", "move")
OF_A_ROUND = ("nan", "skip", "slow")
ANYWHERE = ("crash", "memory", "worker", "hang", "hold")
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "TERM": signal.SIGTERM, "USR2": signal.SIGUSR2, "INT": signal.SIGINT}


class Fault(NamedTuple):
    action: str
    point: str
    number: int
    rank: int | None


def parse(text: str) -> list[Fault]:
    found = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        match = re.fullmatch(r"([\w+]+) at (\w+) (\d+)(?: on rank (\d+))?", part)
        assert match, f"not a fault: '{part}'; write ACTION at POINT NUMBER [on rank RANK]"
        action, point, number, rank = match.groups()
        known = action in (*OF_A_ROUND, *ANYWHERE) or all(a in SIGNALS or hasattr(errno, a) for a in action.split("+"))
        assert known and (action not in OF_A_ROUND or point == "round"), f"no such action at a {point}: '{action}'"
        assert point in OF_TRAINING or callable(getattr(os, point, None)), f"no such point: '{point}'"
        found.append(Fault(action, point, int(number), None if rank is None else int(rank)))
    return found


def install(text: str) -> None:
    """From now on these faults strike this process, if it is the rank they are meant for."""
    rank = int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")))
    mine = [fault for fault in parse(text) if fault.rank in (None, rank)]
    for point in {fault.point for fault in mine} - {"round"}:
        owner, name = (_mover(), "play") if point == "move" else (os, point)
        _count_calls(owner, name, {fault.number: fault.action for fault in mine if fault.point == point})
    rounds = {fault.number: fault.action for fault in mine if fault.point == "round"}
    if rounds:
        _watch_rounds(rounds)


def _mover() -> Any:
    from biggan_scale.engine.moves import Mover  # torch, which not every process has loaded

    return Mover


def _count_calls(owner: Any, name: str, actions: dict[int, str]) -> None:
    original, lock, count = getattr(owner, name), threading.Lock(), 0

    def counting(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        with lock:
            count += 1
            number = count
        if number in actions:
            _strike(actions[number])
        return original(*args, **kwargs)

    setattr(owner, name, counting)


def _watch_rounds(actions: dict[int, str]) -> None:
    from biggan_scale.engine.loop import Engine  # torch, which not every process has loaded
    from biggan_scale.games.base import Clock

    original, struck = Engine.round, set()

    def watched(engine: Engine, batches: Sequence[Sequence[Any]]) -> dict[str, Any]:
        number = engine.clock.round
        action = actions.get(number)
        if action is not None and number not in struck:
            struck.add(number)
            if action == "nan":
                batches = [[dataclasses.replace(batch, images=batch.images * math.nan) for batch in micro] for micro in batches]
            elif action == "skip":
                engine.clock = Clock(engine.clock.nimg + engine.images_per_round, number + 1)
                return {}
            elif action != "slow":
                _strike(action)
        if any(action == "slow" and first <= number for first, action in actions.items()):
            time.sleep(0.5)
        return original(engine, batches)

    Engine.round = watched  # type: ignore[method-assign]


def _strike(action: str) -> None:
    if action == "crash":
        raise ZeroDivisionError("a bug, on order")
    if action == "memory":
        import torch

        torch.empty(1 << 50, dtype=torch.uint8)
    if action == "worker":
        os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
        return
    if action == "hang":
        time.sleep(3600)
    if action == "hold":
        _hold(Path(os.environ[HOLD]))
        return
    for name in action.split("+"):
        if name in SIGNALS:
            os.kill(os.getpid(), SIGNALS[name])
        elif hasattr(errno, name):
            number = getattr(errno, name)
            raise OSError(number, os.strerror(number))


def _hold(place: Path) -> None:
    place.touch()
    while place.exists():
        time.sleep(0.01)


def main(command: Callable[[], int]) -> int:
    install(os.environ.get(FAULTS, ""))
    return command()


if __name__ == "__main__":
    from biggan_scale import cli

    sys.exit(main(cli.main))
