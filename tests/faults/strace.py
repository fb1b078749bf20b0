"""Faults of the machine itself: strace makes a system call of a running process fail, or kills the process as it enters one.

    with attached(pid, out, "inject=fsync:error=EIO:when=2"):  # strace -e ...
        ...                                                    # let the process go on

It needs Debian's package strace and the right to trace. Where they are missing the tests are skipped and say so; in CI, which
installs it, they fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest


class Call(NamedTuple):
    """The n-th call of that name, counted from 1."""

    name: str
    number: int


def need_strace() -> None:
    if shutil.which("strace") is None:
        reason = "strace is not installed: apt-get install strace"
    elif subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True).returncode:
        reason = "strace may not trace here"
    else:
        return
    if os.environ.get("CI_NEEDS_STRACE"):
        pytest.fail(f"no strace in CI: {reason}")
    pytest.skip(f"no strace: {reason}")


@contextmanager
def attached(pid: int, out: Path, *expressions: str) -> Iterator[None]:
    """Inside, the process is traced; on leaving, until it ends, or is let go of."""
    options = [word for expression in expressions for word in ("-e", expression)]
    command = ["strace", "-o", str(out), *options, "-p", str(pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    line = tracer.stderr.readline()
    assert "attached" in line, line + tracer.stderr.read()
    try:
        yield
    finally:
        tracer.wait()
        tracer.stderr.close()


def calls(out: Path) -> list[Call]:
    """What was called, in order."""
    counts: Counter[str] = Counter()
    found = []
    for line in out.read_text().splitlines():
        name = line.partition("(")[0]
        if name.isidentifier():
            counts[name] += 1
            found.append(Call(name, counts[name]))
    return found


def at(call: Call, what: str) -> str:
    """An expression: "error=EIO" or "signal=KILL" at this call."""
    return f"inject={call.name}:{what}:when={call.number}"
