"""`python -m launch.probe FOLDER HEAD PORT`: one node's answers to `biggan-launch doctor`, as a line of JSON. Standard library only.

Does HEAD resolve here, is FOLDER the one that the login node sees, can a port be reached, does Slurm answer, which torch is here, and does
a signal arrive?
Tells that it is ready, and in which job, by a file's name, and then waits for SIGUSR2.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

WAIT_S = 30.0


def main(folder: Path, head: str, port: int) -> None:
    received: list[int] = []
    signal.signal(signal.SIGUSR2, lambda number, _: received.append(number))
    rank = int(os.environ.get("SLURM_PROCID", 0))
    answers = {"host": socket.gethostname(), "python": sys.version.split()[0], "torch": _torch(), "shared": (folder / "token").exists()}
    answers |= {"asks_slurm": _asks_slurm(), "resolves": _address(head), "reaches": _listen(port) if rank == 0 else _reach(head, port)}
    if answers["shared"]:
        (folder / f"ready-{rank}-{os.environ['SLURM_JOB_ID']}").touch()
    deadline = time.monotonic() + WAIT_S
    while not received and answers["shared"] and time.monotonic() < deadline:
        time.sleep(0.05)
    print(json.dumps(answers | {"signal": bool(received)}), flush=True)


def _torch() -> str:
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return ""


def _asks_slurm() -> bool:
    """As launch/attempt.py does, before it has its job requeued."""
    try:
        asked = ["scontrol", "show", "job", os.environ["SLURM_JOB_ID"]]
        return subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, timeout=WAIT_S, check=False).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False


def _address(name: str) -> str:
    try:
        return socket.gethostbyname(name)
    except OSError:
        return ""


def _listen(port: int) -> bool:
    """Keeps the port open for the others, as rank 0 of a training does."""
    try:
        _kept.append(socket.create_server(("", port)))
    except OSError:
        return False
    return True


def _reach(head: str, port: int) -> bool:
    for _ in range(50):
        try:
            socket.create_connection((head, port), timeout=2).close()
        except OSError:
            time.sleep(0.1)
        else:
            return True
    return False


_kept: list[socket.socket] = []

if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
