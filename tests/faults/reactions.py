"""How long runs and evaluations take to leave, from a signal to the end of the last process. One JSON object.

    python tests/faults/reactions.py                # some minutes; on a quiet machine, or the load it tells says why not
    python tests/faults/reactions.py --only alone   # the cases whose name has the word

Rounds last milliseconds here, so what is measured is what comes on top of one. A signal "within a round" or "a save" is sent while rank 0
is held there; the time counts from its release.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from biggan_scale.data.packaged import open_dataset
from faults.forked import Attempt
from faults.toys import page
from support.command import alive, finish, kill, start, train, wait_until

FEW = ("until=12 rounds",)
SIGNALS = [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT]
MOMENTS = {"round": "hold at round 5", "save": "hold at fsync 9"}  # in the second save: that of round 4
TOLD = {"alone": (1, 0), "to rank 0 of 2": (2, 0), "to rank 1 of 2": (2, 1)}
HEAR_ALL = ("--signals-to-handle", "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR2")  # torchrun would die of SIGUSR2, and leave its workers
ENDLESS = "100000000"
LIMIT_S = 5  # watchdog.limit of those that wait for a rank that is stopped


class Reaction(NamedTuple):
    """seconds: until the last process had ended. codes: of each. said: their stderr."""

    seconds: float
    codes: tuple[int, ...]
    said: str


def of_a_run(images: Path, folder: Path, number: signal.Signals, moment: str, ranks: int, told: int) -> Reaction:
    """To a signal to one of its processes. The run is folder/run."""
    held = folder / "held"
    attempt = Attempt(*page(folder / "run", images), *FEW, ranks=ranks, faults=f"{MOMENTS[moment]} on rank 0", hold=held)
    until(held.exists)
    attempt.signal(number, told)
    held.unlink()
    began = time.monotonic()
    codes = attempt.wait()
    return Reaction(time.monotonic() - began, tuple(codes), attempt.said())


def of_torchrun(images: Path, folder: Path, number: signal.Signals, moment: str) -> Reaction:
    """To a signal to its agent, with two ranks under it."""
    held = folder / "held"
    faults = f"{MOMENTS[moment]} on rank 0"
    arguments = page(folder / "run", images)
    agent = start("train", *arguments, *FEW, ranks=2, torchrun=HEAR_ALL, faults=faults, BIGGAN_SCALE_TEST_HOLD=str(held))
    with ended_in_any_case(agent):
        wait_until(held.exists, agent)
        agent.send_signal(number)
        time.sleep(0.5)  # to be passed on
        held.unlink()
        return timed(agent, folder / "run")


def of_an_evaluation(images: Path, folder: Path, number: signal.Signals, ranks: int) -> Reaction:
    """To a signal to it, or to the torchrun of its ranks, while generated images are drawn."""
    run, cache = folder / "run", folder / "cache"
    assert set(Attempt(*page(run, images), "until=2 rounds").wait()) == {0}
    arguments = ("evaluate", str(run), "--data", str(images), "--num", ENDLESS)
    process = start(*arguments, ranks=ranks, torchrun=HEAR_ALL if ranks > 1 else (), BIGGAN_SCALE_CACHE=str(cache))
    with ended_in_any_case(process):
        wait_until(lambda: list(cache.glob("features/*.safetensors")), process)  # real images are done
        process.send_signal(number)
        return timed(process, run)


def of_a_compilation(images: Path, folder: Path, number: signal.Signals, *, to_all: bool) -> Reaction:
    """To a signal to a run, or to its compiler, too, while the C++ compiler is at work on its first round; the run is folder/run."""
    cache = folder / "inductor"
    arguments = page(folder / "run", images)
    config = Path(arguments[0])
    config.write_text(config.read_text().replace("type: gan", "type: r3gan\n  compile_penalties: true"))
    process = train(*arguments, *FEW, TORCHINDUCTOR_CACHE_DIR=str(cache))
    with ended_in_any_case(process):
        wait_until(lambda: alive("g++", cache, ".main.cpp"), process)
        if to_all:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        return timed(process, cache)


def of_the_others(images: Path, folder: Path, stopped: int) -> Reaction:
    """To SIGSTOP of one of two ranks: until the other leaves, by itself, at the limit."""
    settings = ("until=100000 rounds", f"watchdog.limit={LIMIT_S} s")
    attempt = Attempt(*page(folder / "run", images), *settings, ranks=2, faults=f"stop at round 20 on rank {stopped}")
    until(lambda: is_stopped(attempt.processes[stopped].pid))
    began = time.monotonic()
    attempt.processes[1 - stopped].join(120)
    seconds = time.monotonic() - began
    attempt.kill()
    return Reaction(seconds, tuple(attempt.codes()), attempt.said())


def timed(process: subprocess.Popen[str], word: Path) -> Reaction:
    """Until it and all that have the word in their command line are gone."""
    began = time.monotonic()
    code, said = finish(process)
    until(lambda: not alive(word))
    return Reaction(time.monotonic() - began, (code,), said)


@contextmanager
def ended_in_any_case(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            kill(process)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


def is_stopped(pid: int | None) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def cases(images: Path) -> dict[str, Callable[[Path], Reaction]]:
    """Name -> measures it in a folder."""
    found: dict[str, Callable[[Path], Reaction]] = {}
    for number in SIGNALS:
        for moment in MOMENTS:
            for name, (ranks, told) in TOLD.items():
                found[f"{number.name} within a {moment}, {name}"] = lambda folder, n=number, m=moment, r=ranks, t=told: of_a_run(
                    images, folder, n, m, r, t
                )
            found[f"{number.name} within a {moment}, to torchrun"] = lambda folder, n=number, m=moment: of_torchrun(images, folder, n, m)
        for name, ranks in {"alone": 1, "to torchrun": 2}.items():
            found[f"{number.name} within an evaluation, {name}"] = lambda folder, n=number, r=ranks: of_an_evaluation(images, folder, n, r)
        found[f"{number.name} within a compilation, alone"] = lambda folder, n=number: of_a_compilation(images, folder, n, to_all=False)
    for stopped in (0, 1):
        found[f"SIGSTOP of rank {stopped} of 2, watchdog.limit={LIMIT_S} s"] = lambda folder, s=stopped: of_the_others(images, folder, s)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="WORD")
    args = parser.parse_args()
    images = open_dataset("packaged:emoji64", resolution=8, channels=3).path
    chosen = {name: measure for name, measure in cases(images).items() if args.only in name}
    before, seconds, codes = os.getloadavg()[0], {}, {}
    for name, measure in chosen.items():
        with tempfile.TemporaryDirectory() as folder:
            reaction = measure(Path(folder))
        seconds[name], codes[name] = round(reaction.seconds, 2), list(reaction.codes)
        print(f"{name}: {seconds[name]} s, exit codes {codes[name]}", file=sys.stderr, flush=True)
    about = {"cores": os.cpu_count(), "load_before": round(before, 2), "load_after": round(os.getloadavg()[0], 2)}
    print(json.dumps(about | {"seconds": seconds, "exit_codes": codes}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
