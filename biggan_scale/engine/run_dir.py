"""The run directory: one owner, and small files that tell people and programs how the run is doing.

config.yaml     the resolved config with the origin of each value
run.json        identity: when it began, code version, data fingerprint
state.json      the verdict: running, preempted, stopped, complete, failed; why; whether to run again; of which start of which job
attempts.jsonl  one line per start: when, from which image on, with how many ranks, and one when it ends
LOCK            held (flock) by rank 0 as long as it lives
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from biggan_scale.config import json_lines
from biggan_scale.config.errors import EnvironmentFault
from biggan_scale.engine import machine


class RunDir:
    """Only rank 0 makes one.

    Raises:
        EnvironmentFault: the directory cannot be written, or another process owns it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            for folder in (self.path, self.checkpoints, self.samples):
                folder.mkdir(parents=True, exist_ok=True)
            self._lock = self._acquire()
        except OSError as error:
            if error.errno in machine.FULL:
                raise machine.unwritten("LOCK", self.path, error) from error
            raise EnvironmentFault(f"run_dir {self.path} cannot be written: {error.strerror}; choose another run_dir=...") from error

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Replace a small file atomically."""
        self.write_text(name, json.dumps(value, indent=1) + "\n")

    def write_text(self, name: str, text: str) -> None:
        self.write_bytes(self.path / name, text.encode())

    def write_bytes(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with machine.writing(path, len(content)):
            try:
                temporary.write_bytes(content)
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)

    def set_state(self, state: str, *, nimg: int, reason: str = "", requeue: bool = False, exit_code: int = 0) -> None:
        verdict = {"state": state, "reason": reason, "requeue": requeue, "exit_code": exit_code, "nimg": nimg}
        who = {"pid": os.getpid(), "host": socket.gethostname(), "job": job_attempt(), "time": now()}
        self.write_json("state.json", verdict | who)

    def append_attempt(self, **facts: Any) -> None:
        path, record = self.path / "attempts.jsonl", {"time": now(), **facts}
        with machine.writing(path, len(json_lines.line(record))):
            json_lines.append(path, record)

    def attempts(self) -> list[dict[str, Any]]:
        """What can be read of them."""
        return [attempt for attempt in json_lines.read(self.path / "attempts.jsonl") if "event" in attempt]

    def last_nimg(self) -> int:
        """Where the attempt before this one stood; 0 if there was none."""
        try:
            return int(json.loads((self.path / "state.json").read_text())["nimg"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return 0

    def failed_starts(self, nimg: int) -> int:
        """How many starts have ended in an exception since the run last got further, if it is to go on from `nimg` images now.

        A start from further on than any before begins the count anew, and so does a person who asks for another (event "asked").
        Ends from outside and mistakes of the user do not count.
        """
        furthest, failed = -1, 0
        for attempt in [*self.attempts(), {"event": "start", "nimg": nimg}]:
            if attempt["event"] == "asked":
                failed = 0
            elif attempt["event"] == "start" and attempt.get("nimg", 0) > furthest:
                furthest, failed = attempt["nimg"], 0
            elif attempt["event"] == "end" and attempt.get("state") == "failed":
                failed += attempt.get("exit_code", 1) == 1
        return failed

    def close(self) -> None:
        self._lock.close()

    def _acquire(self) -> IO[str]:
        lock = (self.path / "LOCK").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            raise EnvironmentFault(f"run_dir {self.path} is in use by {holder}; stop it first, or choose another run_dir=...") from error
        lock.truncate(0)
        lock.write(f"pid {os.getpid()} on {socket.gethostname()} since {now()}")
        lock.flush()
        return lock


def job_attempt() -> str:
    """Which start of which Slurm job this is, "1234.0"; empty outside of Slurm."""
    job = os.environ.get("SLURM_JOB_ID", "")
    return job and f"{job}.{os.environ.get('SLURM_RESTART_COUNT', 0)}"


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
