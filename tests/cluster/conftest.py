"""A real Slurm of two nodes on this machine (`slurm-local`), and a hand to submit to it and watch.

Every node is a slurmd in namespaces of its own, so hostnames, process ids and power failures are as on real nodes; /tmp they share.
It needs root and Debian's slurm-wlm and munge. Where those are missing the tests are skipped and say so; in CI, which installs
them, they fail.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SLURM_LOCAL = Path(__file__).parent / "slurm-local"
TIMEOUT_S = 150
# The smallest run that lasts: a checkpoint at the end or when told, a record every round. One rank on each of two nodes.
SMALL = (
    "tiny",
    "checkpoint.every=1000 rounds",
    "snapshot.every=1000 rounds",
    "log.every=1 rounds",
    "log.tensorboard=false",
    "data.workers=1",
)


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

    def local(self, *arguments: str) -> str:
        return self.run("bash", SLURM_LOCAL, *arguments).stdout

    def launch(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "launch", *arguments, check=check)

    def submit(self, name: str, *arguments: str, until: str = "40 rounds") -> Submitted:
        run_dir = self.folder / name
        where = (f"run_dir={run_dir}", f"until={until}", "--shared-paths", str(self.folder))
        told = self.launch("submit", *SMALL, *where, "--nodes", "2", "--warn-s", "15", *arguments, "--json")
        return Submitted(self, run_dir, json.loads(told.stdout)["job"])


@dataclass(frozen=True)
class Submitted:
    """A job, and the run it is for."""

    cluster: Cluster
    run_dir: Path
    job: str

    def slurm_state(self) -> str:
        return self.cluster.run("squeue", "-h", "-t", "all", "-j", self.job, "-o", "%T").stdout.strip()

    def verdict(self) -> dict[str, Any]:
        return read_json(self.run_dir / "state.json")

    def ends(self) -> list[dict[str, Any]]:
        return [event for event in self.events() if event["event"] == "end"]

    def events(self) -> list[dict[str, Any]]:
        path = self.run_dir / "launch" / "jobs.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def rounds(self) -> int:
        """How far the metrics say it has come."""
        try:
            return json.loads((self.run_dir / "metrics.jsonl").read_text().splitlines()[-1])["round"]
        except (FileNotFoundError, IndexError, ValueError):
            return 0

    def log(self) -> str:
        path = self.run_dir / "logs" / f"{self.job}.log"
        return path.read_text() if path.exists() else ""

    def wait(self, condition: Callable[[], object], what: str, timeout_s: float = TIMEOUT_S) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"never: {what}; Slurm says {self.slurm_state()}; log:\n{self.log()}"
            time.sleep(0.1)

    def wait_round(self, number: int) -> None:
        self.wait(lambda: self.rounds() >= number, f"round {number}")

    def wait_ended(self, state: str) -> None:
        ended = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        self.wait(lambda: self.slurm_state() in ended, "the job's end")
        assert self.slurm_state() == state, self.log()

    def final_sha256(self) -> str:
        newest = max((self.run_dir / "checkpoints").glob("[0-9]*-kimg"))
        return read_json(newest / "MANIFEST.json")["state_sha256"]


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def start(folder: Path, *options: str, **knobs: str) -> Iterator[Cluster]:
    """A cluster, until the generator is closed."""
    if reason := why_not():
        if os.environ.get("CI_NEEDS_SLURM"):
            pytest.fail(f"no Slurm in CI: {reason}")
        pytest.skip(f"no Slurm: {reason}")
    port = str(20000 + os.getpid() % 300 * 40 + 20 * bool(knobs))  # two clusters side by side, below the ports Linux hands out
    # the folder of the daemons has a short path: a socket's may have no more than 108 characters
    base = os.environ | {"SLURM_LOCAL_DIR": f"/tmp/slurm-test-{os.getpid()}{'-other' if knobs else ''}", "SLURM_LOCAL_PORT": port, **knobs}
    base |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "BIGGAN_SCALE_CACHE": str(folder / "cache")}
    cluster = Cluster(base, folder)
    cluster.local("start", "2", *options)
    try:
        base["SLURM_CONF"] = f"{base['SLURM_LOCAL_DIR']}/slurm.conf"
        base["PATH"] = f"{base['SLURM_LOCAL_DIR']}/bin:{base['PATH']}"
        yield cluster
    finally:
        cluster.local("stop")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes; a preempted job gets its --signal, and SIGTERM."""
    yield from start(tmp_path_factory.mktemp("cluster"))


@pytest.fixture(scope="session")
def walk(cluster: Cluster) -> tuple[Submitted, str]:
    """A run that nothing happened to, and what `logs -f` showed of it from the queue to its end."""
    submitted = cluster.submit("undisturbed")
    followed = cluster.launch("logs", "-f", submitted.run_dir).stdout
    submitted.wait_ended("COMPLETED")
    return submitted, followed


@pytest.fixture(scope="session")
def undisturbed(walk: tuple[Submitted, str]) -> str:
    """The digest of the final state of a run that nothing happened to."""
    return walk[0].final_sha256()
