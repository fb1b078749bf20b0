"""What a real Slurm says to what we ask of it, and what we say before it has to."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster import local_slurm
from tests.cluster.conftest import BACKENDS
from tests.cluster.local_slurm import ROOT, SMALL, TIMEOUT_S, Cluster, Run, start

pytestmark = pytest.mark.timeout(TIMEOUT_S)
both_backends = pytest.mark.parametrize("backend", BACKENDS)


@both_backends
def test_slurm_takes_the_script_of_a_dry_run(cluster: Cluster, backend: str) -> None:
    asked = ("--nodes", "2", "--partition", "high", "--time", "2:00:00", "--constraint", "local", "--exclusive", "--mail-type", "END")
    further = ("--array-limit", "4", "--cpus-per-rank", "2", "--mem", "1G", "--extra-sbatch=--nice=10", "--extra-srun=--container=/bundle")
    where = cluster.where(f"dry-{backend}")
    script = cluster.launch("submit", *SMALL, *where, *asked, *further, "--backend", backend, "--dry-run").stdout
    told = cluster.run("sbatch", "--test-only", input=script).stderr
    assert "to start at" in told, told


@both_backends
def test_slurm_takes_the_script_of_a_sweep(cluster: Cluster, backend: str) -> None:
    grid = ("--grid", "seed=0,1", "--grid", "batch_size=16,32", "--array-limit", "2")
    script = cluster.launch("sweep", *SMALL, *cluster.where(f"dry-sweep-{backend}"), *grid, "--backend", backend, "--dry-run").stdout
    assert "#SBATCH --array=0-3%2\n" in script
    told = cluster.run("sbatch", "--test-only", input=script).stderr
    assert "to start at" in told, told


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--partition", "hihg"), "no partition 'hihg'; did you mean 'high'?"),
        (("--container-image", "a.sqsh"), "this cluster's srun has no --container-image"),
        (("--time", "1"), "slurm.time 1 is too short: at least 6 min"),
    ],
)
def test_what_slurm_would_refuse_is_told_before_it_has_to(cluster: Cluster, flags: tuple[str, ...], told: str) -> None:
    refused = cluster.launch("submit", *SMALL, *cluster.where("nowhere"), *flags, check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert told in refused.stderr


@both_backends
def test_what_slurm_refuses_is_told_in_one_line(cluster: Cluster, backend: str) -> None:
    where = cluster.where("featureless")
    refused = cluster.launch("submit", *SMALL, *where, "--constraint", "quantum", "--backend", backend, check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (5, 1), refused.stderr
    assert "sbatch" in refused.stderr and "Invalid feature specification" in refused.stderr


def test_a_run_has_one_job_at_a_time(cluster: Cluster) -> None:
    run = cluster.submit("twice", "--extra-sbatch=--hold")
    kept = run.kept_files()
    for dry in ((), ("--dry-run",)):
        again = cluster.launch("submit", *SMALL, *cluster.where("twice"), "seed=5", *dry, check=False)
        assert again.returncode == 2
        assert f"job {run.job} of this run is pending" in again.stderr
    assert run.kept_files() == kept
    stopped = cluster.launch("stop", run.run_dir).stdout
    assert "was pending, taken out of the queue" in stopped
    run.wait_ended("CANCELLED")
    assert run.status()["state"] == "stopped"


def test_doctor_finds_nothing_wrong_with_a_good_cluster(cluster: Cluster) -> None:
    told = cluster.launch("doctor", *SMALL, *cluster.where("doctor"), "--nodes", "2").stdout
    assert "partition low: PreemptMode=REQUEUE; a preempted job is requeued" in told
    assert "partition low: GraceTime 60 s, in which a preempted run saves" in told
    assert "jobs may be requeued" in told
    assert "2 of 2 nodes answered" in told
    for node in ("n1", "n2"):
        assert f"{node}: shares the folder, resolves, connects, asks Slurm, hears SIGUSR2 and SIGTERM" in told
    assert cluster.run("squeue", "-h", "-t", "PENDING,RUNNING").stdout == "", "nothing is left in the queue"


def test_doctor_knows_a_job_that_may_not_be_requeued(cluster: Cluster) -> None:
    where = cluster.where("doctor")
    told = cluster.launch("doctor", *SMALL, *where, "--extra-sbatch=--no-requeue", "--partition", "high").stdout
    assert "this site does not let jobs be requeued: a stopped run goes on in a further job" in told
    assert "partition high: its jobs are not preempted" in told


def test_an_element_of_an_array_is_followed_by_one(cluster: Cluster) -> None:
    folder = cluster.folder / "array"
    told = cluster.launch("sweep", *SMALL, *cluster.where("array"), "--grid", "seed=0,1", "--extra-sbatch=--hold", "--json").stdout
    element = Run(cluster, folder / "001", f"{json.loads(told)['job']}_1")
    cluster.run("scontrol", "update", f"JobId={element.job}", "Requeue=0")
    cluster.launch("cancel", folder)
    element.wait_ended("CANCELLED")
    cluster.launch("requeue", element.run_dir)
    (event,) = element.events("follow-up")
    assert event["after"] == element.job
    status = element.status()
    assert (status["job"]["id"], status["job"]["state"]) == (event["job"], "PENDING")
    assert event["job"].endswith("_1") and event["job"] != element.job


@pytest.mark.slow  # needs a cluster of its own, whose nodes have a /tmp each
def test_doctor_names_a_folder_that_nodes_do_not_share(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("private")
    shared = f"{ROOT}:{sys.prefix}:{folder / 'shared'}"
    (folder / "shared").mkdir()
    for cluster in start(folder, "--private-tmp", SLURM_LOCAL_SHARE=shared):
        told = cluster.launch("doctor", *SMALL, *cluster.where("apart"), "--nodes", "2", check=False)
        assert told.returncode == 5
        assert f"n1: does not see {folder / 'apart'}: choose a folder that all nodes share" in told.stdout
        assert cluster.launch("doctor", *SMALL, *cluster.where("shared/run"), "--nodes", "2").returncode == 0


def test_a_cluster_ends_with_the_tests_however_they_end(tmp_path: Path) -> None:
    if reason := local_slurm.why_not():
        pytest.skip(reason)
    code = (
        "from pathlib import Path; from tests.cluster.local_slurm import start\n"
        f"for cluster in start(Path({str(tmp_path)!r})):\n"
        "    print(cluster.environment['SLURM_LOCAL_DIR'], flush=True)\n"
        "    input()"
    )
    tests = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert tests.stdout is not None
    folder = Path(tests.stdout.readline().strip())
    daemons = [int((folder / "pids" / name).read_text().split()[0]) for name in ("slurmctld", "munged", "n1", "n2")]
    tests.send_signal(signal.SIGKILL)
    tests.communicate()
    local_slurm.wait(lambda: not folder.exists(), lambda: f"{folder} is still there")
    assert not [pid for pid in daemons if local_slurm.is_alive(pid)]
