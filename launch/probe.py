"""`python -m launch.probe FOLDER HEAD PORT`: one node's answers to `biggan-launch doctor`, as a line of JSON. Standard library only.

Does HEAD resolve here, is FOLDER the one that the login node sees, can a port be reached, does Slurm answer, which torch is here, and which
signals arrive? Tells that it is ready, and in which job, by a file's name, and then waits for them.
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

REACH_S = 30.0  # for the first node, which may be slow to begin
WAIT_S = 60.0  # for Slurm, and for the signals, which come when all nodes are ready
LISTENED = (signal.SIGUSR2, signal.SIGTERM)


def main(folder: Path, head: str, port: int) -> None:
    received: set[str] = set()
    for listened in LISTENED:
        signal.signal(listened, lambda number, _: received.add(signal.Signals(number).name))
    rank, num_ranks = int(os.environ.get("SLURM_PROCID", 0)), int(os.environ.get("SLURM_NTASKS", 1))
    server = _server(port) if rank == 0 else None
    reaches = server is not None if rank == 0 else _reach(head, port)
    answers = {"host": socket.gethostname(), "torch": _torch(), "shared": (folder / "token").exists()}
    answers |= {"asks_slurm": _asks_slurm(), "resolves": _address(head), "reaches": reaches}
    if answers["shared"]:
        (folder / f"ready-{rank}-{os.environ['SLURM_JOB_ID']}").touch()
    deadline = time.monotonic() + WAIT_S
    while len(received) < len(LISTENED) and answers["shared"] and time.monotonic() < deadline:
        time.sleep(0.05)
    print(json.dumps(answers | {"signals": sorted(received)}), flush=True)
    if server is not None:
        _stay(server, num_ranks - 1, deadline)


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


def _server(port: int) -> socket.socket | None:
    """Opens the port for the others, as rank 0 of a training does."""
    try:
        return socket.create_server(("", port), backlog=1024)
    except OSError:
        return None


def _reach(head: str, port: int) -> bool:
    deadline = time.monotonic() + REACH_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection((head, port), timeout=2).close()
        except OSError:
            time.sleep(0.1)
        else:
            return True
    return False


def _stay(server: socket.socket, num_others: int, deadline: float) -> None:
    """Keeps the port open until all others have called."""
    for _ in range(num_others):
        server.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            server.accept()
        except TimeoutError:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
