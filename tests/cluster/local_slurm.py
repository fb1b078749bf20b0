"""A real Slurm of two nodes on this machine (`slurm-local`), and hands to submit to it and watch.

Every node is a slurmd in namespaces of its own, so hostnames, process ids and power failures are as on real nodes; /tmp they share.
It needs root and Debian's slurm-wlm and munge. Where those are missing the tests are skipped and say so; in CI, which installs
them, they fail. Clusters of several test processes stand side by side.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from tests.cluster import hold

ROOT = Path(__file__).resolve().parents[2]
SLURM_LOCAL = Path(__file__).parent / "slurm-local"
TIMEOUT_S = 400  # for anything: only a test that fails takes as long
NODES = ("n1", "n2")
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
ROUNDS = 8
# The smallest run: a checkpoint at the end or when told, a record every round. One rank on each of two nodes.
SMALL = (
    "tiny",
    f"until={ROUNDS} rounds",
    "checkpoint.every=1000 rounds",
    "snapshot.every=1000 rounds",
    "log.every=1 rounds",
    "log.tensorboard=false",
    "data.workers=1",
)
# Ports and job ids of a cluster (torchrun's port is made of the job's id): 200 each, below the ports that Linux hands out.
FIRST_PORT, PORTS, SLOTS = 21000, 200, 50


def why_not() -> str:
    """Why there can be no Slurm here; empty if there can."""
    missing = [name for name in ("slurmctld", "slurmd", "munged", "unshare") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed: apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "only root can make the nodes' namespaces"


@dataclass(frozen=True)
class Cluster:
    """A running cluster. `folder` is seen by all nodes."""

    environment: dict[str, str]
    folder: Path

    def run(self, *command: str | Path, check: bool = True, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        words = [str(word) for word in command]
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=ROOT, **kwargs)
        assert not check or done.returncode == 0, f"{' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def local(self, *arguments: str, check: bool = True) -> str:
        return self.run("bash", SLURM_LOCAL, *arguments, check=check).stdout

    def launch(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "launch", *arguments, check=check)

    def launch_in_background(self, *arguments: str | Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "launch", *map(str, arguments)]
        return subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True, cwd=ROOT)

    def where(self, name: str) -> tuple[str, ...]:
        """A run directory, as arguments."""
        return (f"run_dir={self.folder / name}", "--shared-paths", str(self.folder))

    def submit(self, name: str, *arguments: str, backend: str = "submitit", hold_at: tuple[str, ...] = ()) -> Run:
        """Queue a run of two nodes, which is to wait at these places; see hold.py."""
        command = ("submit", *SMALL, *self.where(name), "--nodes", "2", "--warn-s", "15", "--backend", backend, *arguments)
        run = Run(self, self.folder / name)
        if hold_at:
            self.launch(*command, "--dry-run")  # makes the copy of the code that the job will run
            hold.put_into(run.code)
            (run.run_dir / "hold").write_text("".join(f"{place}\n" for place in hold_at))
        run.job = json.loads(self.launch(*command, "--json").stdout)["job"]
        return run

    def processes(self, node: str) -> list[str]:
        """The command lines of all that runs on a node, besides what makes it one."""
        lines = self.local("exec", node, "ps", "-eo", "stat=,args=").splitlines()
        commands = [args for stat, _, args in (line.strip().partition(" ") for line in lines) if not stat.startswith("Z")]
        own = ("slurmd ", "ps -eo", f"bash {SLURM_LOCAL} _node")
        return [command.strip() for command in commands if not command.strip().removeprefix("/bin/").startswith(own)]

    def clear(self) -> None:
        """End all jobs; then nothing may be left of them on any node."""
        self.run("scancel", "--user=root")
        for node in NODES:
            self.local("start-node", node)
        wait(lambda: not any(self.processes(node) for node in NODES), lambda: f"left behind: {[self.processes(node) for node in NODES]}")


@dataclass
class Run:
    """A run directory on the cluster, and the job that was submitted for it."""

    cluster: Cluster
    run_dir: Path
    job: str = ""

    @property
    def code(self) -> Path:
        (found,) = (self.run_dir / "launch").glob("code-*")
        return found

    def slurm_state(self) -> str:
        return self.cluster.run("squeue", "-h", "-t", "all", "-j", self.job, "-o", "%T").stdout.strip()

    def verdict(self) -> dict[str, Any]:
        return read_json(self.run_dir / "state.json")

    def status(self) -> dict[str, Any]:
        return json.loads(self.cluster.launch("status", self.run_dir, "--json").stdout)

    def events(self, kind: str) -> list[dict[str, Any]]:
        path = self.run_dir / "launch" / "jobs.jsonl"
        return [event for event in map(json.loads, path.read_text().splitlines()) if event["event"] == kind]

    def ends(self) -> list[dict[str, Any]]:
        return self.events("end")

    def kept_files(self) -> dict[str, str]:
        """What of RUN/launch a requeued job runs again."""
        return {name: (self.run_dir / "launch" / name).read_text() for name in ("config.yaml", "job.sh")}

    def log(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.run_dir.glob("logs/*.log")))

    def wait(self, condition: Callable[[], object], what: str) -> None:
        wait(condition, lambda: f"never: {what}; Slurm says {self.slurm_state()}; log:\n{self.log()}")

    def wait_held(self, place: str, times: int = 1) -> None:
        held = self.run_dir / "held"
        self.wait(lambda: held.exists() and held.read_text().split().count(place) >= times, f"held at {place}")

    def let_go(self, place: str) -> None:
        hold.take_off(self.run_dir, place)

    def wait_ended(self, state: str) -> None:
        self.wait(lambda: self.slurm_state() in ENDED, "the job's end")
        assert self.slurm_state() == state, self.log()

    def final_sha256(self) -> str:
        newest = max((self.run_dir / "checkpoints").glob("[0-9]*-kimg"))
        return read_json(newest / "MANIFEST.json")["state_sha256"]


def wait(condition: Callable[[], object], complaint: Callable[[], str]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.1)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def start(folder: Path, *options: str, **knobs: str) -> Iterator[Cluster]:
    """A cluster, until the generator is closed or this process ends, however it ends."""
    if reason := why_not():
        if os.environ.get("CI_NEEDS_SLURM"):
            pytest.fail(f"no Slurm in CI: {reason}")
        pytest.skip(f"no Slurm: {reason}")
    with claimed_slot() as slot:
        number = int(slot.name.rpartition("-")[2])
        # the folder of the daemons has a short path: a socket's may have no more than 108 characters
        place = {"SLURM_LOCAL_DIR": f"/tmp/slurm-test-{number}", "SLURM_LOCAL_PORT": str(FIRST_PORT + PORTS * number)}
        python = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        base = os.environ | place | knobs | python | {"BIGGAN_SCALE_CACHE": str(folder / "cache")}
        cluster = Cluster(base, folder)
        # stops the cluster at the end of its input, which comes when this process closes it, or is killed
        command = ["bash", "-c", 'cat >/dev/null; exec bash "$0" stop', SLURM_LOCAL]
        ender = subprocess.Popen(command, env=base, stdin=subprocess.PIPE, pass_fds=[slot.fileno()], start_new_session=True)
        try:
            cluster.local("start", str(len(NODES)), *options)
            base["SLURM_CONF"] = f"{base['SLURM_LOCAL_DIR']}/slurm.conf"
            base["PATH"] = f"{base['SLURM_LOCAL_DIR']}/bin:{base['PATH']}"
            yield cluster
        finally:
            assert ender.stdin is not None
            ender.stdin.close()
            assert ender.wait(TIMEOUT_S) == 0


def claimed_slot() -> IO[str]:
    """A number for a cluster, as a locked file /tmp/slurm-test-lock-NUMBER; free again when the cluster has been stopped."""
    for number in range(SLOTS):
        lock = Path(f"/tmp/slurm-test-lock-{number}").open("a")  # noqa: SIM115 the caller closes it
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            return lock
    raise AssertionError(f"{SLOTS} clusters run already")
