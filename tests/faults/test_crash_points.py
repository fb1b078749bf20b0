"""Every point of a save: killed, out of space, or failed by the disk at each system call that it makes, in turn.

A save is that of a run: publish the new checkpoint, then delete the oldest. Whatever happens, the newest valid checkpoint is the new
one or the one before, with the right content, and the next save is as if nothing had been.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from biggan_scale.config.errors import EnvironmentFault
from biggan_scale.engine import checkpoint
from biggan_scale.engine.checkpoint import TrainingState
from faults import strace
from faults.strace import Call
from support.tiny import assert_same

MIN_POINTS = 150
KEEP = 2
OLDER, NEW, NEXT = (20, 30), 40, 50
TRACE = "trace=%file,%desc"
FAULTS = {"kill": "signal=KILL", "ENOSPC": "error=ENOSPC", "EIO": "error=EIO"}
OK, ESCAPED, SAID, DISK_FULL = 0, 1, 5, 6  # exit codes of the saving process


def state(nimg: int) -> TrainingState:
    weights = {name: torch.full((8, 8), nimg + i / 10) for i, name in enumerate("abc")}
    return TrainingState(weights, {"a": weights["a"] / 2}, {"G/a/exp_avg": weights["b"]}, {"nimg": nimg, "round": nimg})


def save(folder: Path, nimg: int) -> None:
    checkpoint.save(folder, state(nimg), {"version": "test"})
    checkpoint.retain(folder, KEEP)


@pytest.fixture
def place() -> Iterator[Path]:
    """In memory, where an fsync costs nothing."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture
def prepared(place: Path) -> Path:
    """Checkpoints of a run that is about to write another."""
    for nimg in (10, *OLDER):
        save(place / "prepared", nimg)
    assert valid(place / "prepared") == sorted(OLDER, reverse=True)
    return place / "prepared"


def valid(folder: Path) -> list[int]:
    return [checkpoint.manifest_of(p)["nimg"] for p in checkpoint.checkpoints(folder) if checkpoint.problem_of(p) is None]


def saving_process(folder: Path, out: Path, *expressions: str) -> int:
    """A process that saves under strace; returns its exit code, or minus the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        code = ESCAPED
        try:
            os.kill(os.getpid(), signal.SIGSTOP)
            save(folder, NEW)
            code = OK
        except EnvironmentFault as error:
            code = DISK_FULL if "disk full: " in str(error) else SAID
        finally:
            os._exit(code)
    os.waitpid(pid, os.WUNTRACED)
    with strace.attached(pid, out, *expressions):
        os.kill(pid, signal.SIGCONT)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def points(prepared: Path) -> list[Call]:
    """Every system call on a file that a save makes."""
    folder, out = prepared.with_name("recorded"), prepared.with_name("trace")
    shutil.copytree(prepared, folder)
    assert saving_process(folder, out, TRACE) == OK
    return strace.calls(out)


def harm(prepared: Path, call: Call, fault: str) -> str:
    """What is wrong after one fault; empty if all is well."""
    folder, out = prepared.with_name(f"{call.name}-{call.number}"), prepared.with_name("trace")
    shutil.copytree(prepared, folder)
    code = saving_process(folder, out, TRACE, strace.at(call, FAULTS[fault]))
    if fault == "kill":
        if code != -signal.SIGKILL:
            return f"was not killed: {code}"
    elif "INJECTED" not in out.read_text():
        return "did not meet the fault"
    elif code not in (OK, SAID, DISK_FULL):
        return f"ended with {code}"
    elif code != OK and (code == DISK_FULL) != (fault == "ENOSPC"):
        return f"said the wrong thing: {code}"
    newest = valid(folder)[0]
    if newest not in (OLDER[-1], NEW) or (code == OK and newest != NEW):
        return f"{newest} is the newest after exit code {code}"
    if len(valid(folder)) < KEEP:
        return f"only {valid(folder)} are left"
    assert_same(checkpoint.load(checkpoint.checkpoints(folder)[0]), state(newest))
    checkpoint.sweep(folder)
    save(folder, NEXT)
    if valid(folder) != [NEXT, newest] or sorted(folder.glob(".*")):
        return f"the next save left {sorted(path.name for path in folder.iterdir())}"
    assert_same(checkpoint.load(checkpoint.checkpoints(folder)[0]), state(NEXT))
    return ""


@pytest.fixture
def _strace() -> None:
    strace.need_strace()


@pytest.mark.usefixtures("_strace")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("stride", [13, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
def test_no_point_of_a_save_loses_anything(prepared: Path, fault: str, stride: int) -> None:
    every = points(prepared)
    assert len(every) >= MIN_POINTS
    wrong = {call: complaint for call in every[::stride] if (complaint := harm(prepared, call, fault))}
    print(f"{len(every[::stride])} of {len(every)} points, {fault}: {len(wrong)} wrong")
    assert wrong == {}
