"""A breakpoint in a run on the cluster, so that a disturbance meets it where the test wants it, however fast the machine.

`put_into(code)` writes calls of `here` into a run's copy of the code, and this file beside them. RUN/hold lists places, a line or more
in the order they are expected: who comes to a place on the first line waits until a signal to stop has come, or until the test takes
the line off. RUN/held tells which places have been come to.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

PLACES = {  # file, function -> the place at its beginning
    ("cli/train.py", "run"): '"start"',  # before torch is loaded, and before anybody listens to signals
    ("engine/loop.py", "round"): 'f"round-{self.clock.round}"',
    ("engine/checkpoint.py", "_seal"): '"save"',  # a file of a checkpoint has been written, others have not
    ("engine/snapshot.py", "sheet"): '"snapshot"',
}


def put_into(code: Path) -> None:
    shutil.copyfile(__file__, code / "hold.py")
    for (file, function), place in PLACES.items():
        insert(code / "biggan_scale" / file, function, f"__import__('hold').here({place})")


def insert(file: Path, function: str, statement: str) -> None:
    """Have a function begin with a statement."""
    lines = file.read_text().splitlines(keepends=True)
    (first,) = (number for number, line in enumerate(lines) if line.lstrip().startswith(f"def {function}("))
    last = next(number for number in range(first, len(lines)) if lines[number].endswith(":\n"))
    indentation = " " * (len(lines[first]) - len(lines[first].lstrip()) + 4)
    file.write_text("".join([*lines[: last + 1], f"{indentation}{statement}\n", *lines[last + 1 :]]))


def here(place: str) -> None:
    """In the run: wait, if this is where to."""
    run_dir = Path(sys.argv[-1]).parents[1]  # ... train RUN/launch/config.yaml
    if place not in waits_for(run_dir) or _told_to_stop():
        return
    with (run_dir / "held").open("a") as file:
        file.write(f"{place}\n")
    while place in waits_for(run_dir) and not _told_to_stop():
        time.sleep(0.01)
    take_off(run_dir, place)


def waits_for(run_dir: Path) -> list[str]:
    try:
        return (run_dir / "hold").read_text().partition("\n")[0].split()
    except FileNotFoundError:
        return []


def take_off(run_dir: Path, place: str) -> None:
    """Unless another rank, or another thread of this one, has done it."""
    first, _, rest = (run_dir / "hold").read_text().partition("\n")
    if place in first.split():
        temporary = run_dir / f".hold.{os.getpid()}.{threading.get_ident()}"
        temporary.write_text(rest)
        os.replace(temporary, run_dir / "hold")


def _told_to_stop() -> bool:
    handler = signal.getsignal(signal.SIGTERM)
    flag = getattr(handler, "__self__", None)  # of biggan_scale/engine/signals.py, once it listens
    return flag is not None and flag.received is not None
