"""Run our commands as users do: as processes, alone or under torchrun, to be waited for, signalled or killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from biggan_scale.config import json_lines
from biggan_scale.engine.log import OF_THE_MACHINE

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 240


def train(*arguments: str, ranks: int = 1, faults: str = "", **variables: str) -> subprocess.Popen[str]:
    """Start `biggan-scale train ...`; see `start`."""
    return start("train", *arguments, ranks=ranks, faults=faults, **variables)


def start(*arguments: str, ranks: int = 1, torchrun: tuple[str, ...] = (), faults: str = "", **variables: str) -> subprocess.Popen[str]:
    """Start `biggan-scale ...` in a process group of its own.

    Args:
        ranks: with several, under torchrun.
        torchrun: further options of it.
        faults: what is to go wrong, such as "kill at round 7 on rank 1"; see faults/inject.py.
        variables: of the environment.
    """
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", *torchrun] if ranks > 1 else []
    module = [
        "-m",
        *(["--"] if launcher else []),
        "faults.inject" if faults else "biggan_scale.cli",
    ]  # torchrun would take --num for its own
    command = [sys.executable, *launcher, *module, *arguments]
    ours = {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"} | ({"BIGGAN_SCALE_TEST_FAULTS": faults} if faults else {})
    environment = os.environ | ours | variables
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and stderr."""
    try:
        _, stderr = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        kill(process)
        raise
    return process.returncode, stderr


def kill(process: subprocess.Popen[str]) -> None:
    """kill -9 of everything the command has started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Until it holds; fails if the process ends before."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert process.poll() is None, f"ended with {process.returncode}: {process.communicate()[1]}"
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def alive(*words: str | Path) -> list[str]:
    """The command lines of all processes that have these words in it, whoever is their parent now."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if all(str(word) in command for word in words):
                found.append(command)
    return found


def rounds_logged(run_dir: Path) -> list[int]:
    try:
        return [json.loads(line)["round"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    except (FileNotFoundError, ValueError):
        return []


def records(run_dir: Path) -> list[dict[str, Any]]:
    """All of metrics.jsonl that follows from the config and the images seen."""
    return [
        {name: value for name, value in record.items() if name not in OF_THE_MACHINE}
        for record in json_lines.read(run_dir / "metrics.jsonl")
    ]


def manifests(run_dir: Path) -> dict[int, dict[str, Any]]:
    """nimg -> manifest of every checkpoint."""
    found = [json.loads(path.read_text()) for path in (run_dir / "checkpoints").glob("0*-kimg/MANIFEST.json")]
    return {manifest["nimg"]: manifest for manifest in found}


def state_of(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "state.json").read_text())


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
