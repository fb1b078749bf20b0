"""What a cluster does to a job, and how the job ends: on a real Slurm, to the same bits as a run that nothing happened to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cluster.conftest import SMALL, Cluster, Submitted, start

BACKENDS = ("submitit", "torchrun")


def preempt(submitted: Submitted) -> None:
    """A job of higher priority takes both nodes for a moment; returns when ours has had to go."""
    run = submitted.cluster.run
    run("sbatch", "-p", "high", "-N2", "--exclusive", "-o", "/dev/null", "--wrap", "srun sleep 1")
    submitted.wait(lambda: submitted.slurm_state() == "PENDING", "preempted")


def test_two_nodes_from_submit_to_status_and_logs(cluster: Cluster, walk: tuple[Submitted, str]) -> None:
    submitted, followed = walk
    assert "0: started in" in followed and "2 ranks" in followed and "0: complete at" in followed
    status = json.loads(cluster.launch("status", submitted.run_dir, "--json").stdout)
    assert (status["state"], status["job"]["state"], status["job"]["attempts"]) == ("complete", "COMPLETED", 1)
    assert status["job"]["nodes"] == "n[1-2]"


def test_run_preempted_three_times_ends_with_the_same_state(cluster: Cluster, undisturbed: str) -> None:
    submitted = cluster.submit("preempted")
    for times in (1, 2, 3):
        submitted.wait_round(submitted.rounds() + 3)
        preempt(submitted)
        assert [end["kind"] for end in submitted.ends()] == ["stopped"] * times, submitted.log()
    submitted.wait_ended("COMPLETED")
    assert submitted.final_sha256() == undisturbed


def test_cancelled_job_stays_cancelled_and_has_saved(cluster: Cluster) -> None:
    submitted = cluster.submit("cancelled")
    submitted.wait_round(3)
    cluster.launch("cancel", submitted.run_dir)
    submitted.wait_ended("CANCELLED")
    submitted.wait(submitted.ends, "the last word")
    assert submitted.final_sha256()
    assert (submitted.verdict()["state"], submitted.verdict()["requeue"]) == ("stopped", False)


@pytest.mark.slow  # the tests from here on take a minute or two each
def test_stopped_run_saves_and_goes_on_when_asked(cluster: Cluster, undisturbed: str) -> None:
    submitted = cluster.submit("stopped")
    submitted.wait_round(3)
    cluster.launch("stop", submitted.run_dir)
    submitted.wait_ended("COMPLETED")
    assert (submitted.verdict()["state"], submitted.verdict()["requeue"]) == ("stopped", False)
    cluster.launch("requeue", submitted.run_dir)
    submitted.wait(lambda: submitted.verdict()["state"] == "complete", "complete")
    assert submitted.final_sha256() == undisturbed


@pytest.mark.slow
def test_preempted_under_torchrun(cluster: Cluster, undisturbed: str) -> None:
    submitted = cluster.submit("preempted-torchrun", "--backend", "torchrun")
    submitted.wait_round(3)
    preempt(submitted)
    submitted.wait_ended("COMPLETED")
    assert submitted.final_sha256() == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_scontrol_requeue(cluster: Cluster, undisturbed: str, backend: str) -> None:
    submitted = cluster.submit(f"requeued-{backend}", "--backend", backend)
    submitted.wait_round(3)
    cluster.run("scontrol", "requeue", submitted.job)
    submitted.wait_ended("COMPLETED")
    assert submitted.final_sha256() == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_user_signal_saves_and_requeues(cluster: Cluster, undisturbed: str, backend: str) -> None:
    submitted = cluster.submit(f"usr2-{backend}", "--backend", backend)
    submitted.wait_round(3)
    cluster.run("scancel", "--signal=USR2", submitted.job)
    submitted.wait(submitted.ends, "the first end")
    assert submitted.ends()[0]["action"] == "requeue"
    submitted.wait_ended("COMPLETED")
    assert submitted.final_sha256() == undisturbed


@pytest.mark.slow  # preemption without the user signal is a setting of the cluster: it needs one of its own
def test_preempted_without_user_signal(undisturbed: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    for cluster in start(tmp_path_factory.mktemp("silent"), SLURM_LOCAL_USERSIG="0"):
        submitted = cluster.submit("preempted")
        for _ in range(3):
            submitted.wait_round(submitted.rounds() + 3)
            preempt(submitted)
        submitted.wait_ended("COMPLETED")
        assert submitted.final_sha256() == undisturbed


@pytest.mark.slow  # Slurm's shortest limit is a minute
def test_time_limit_is_a_pause(cluster: Cluster) -> None:
    submitted = cluster.submit("limit", "--time", "1", until="100000 rounds")
    submitted.wait(submitted.ends, "the limit", timeout_s=90)
    first, images = submitted.ends()[0], submitted.verdict()["nimg"]
    assert (first["kind"], first["action"]) == ("stopped", "requeue") and "SIGUSR2" in first["reason"]
    saved = submitted.final_sha256()
    submitted.wait(lambda: "resumed at" in submitted.log(), "resumed")
    cluster.launch("cancel", submitted.run_dir)
    submitted.wait_ended("CANCELLED")
    unlimited = cluster.submit("unlimited", until=f"{images} img")
    unlimited.wait_ended("COMPLETED")
    assert unlimited.final_sha256() == saved


@pytest.mark.slow
@pytest.mark.parametrize("node", ["n1", "n2"])
def test_run_goes_on_after_a_node_has_lost_power(cluster: Cluster, undisturbed: str, node: str) -> None:
    submitted = cluster.submit(f"power-{node}", "checkpoint.every=2 rounds")
    submitted.wait_round(5)
    cluster.local("kill-node", node)
    submitted.wait(lambda: submitted.slurm_state() in ("PENDING", "COMPLETING") or submitted.ends(), "noticed")
    cluster.local("start-node", node)
    submitted.wait_ended("COMPLETED")
    assert submitted.final_sha256() == undisturbed


@pytest.mark.slow
def test_worker_killed_under_torchrun_is_restarted_within_the_job(cluster: Cluster, undisturbed: str) -> None:
    submitted = cluster.submit("worker", "checkpoint.every=2 rounds", "--backend", "torchrun")
    submitted.wait_round(5)
    kill_training(cluster, "n2", submitted.run_dir)
    submitted.wait_ended("COMPLETED")
    assert [end["kind"] for end in submitted.ends()] == ["complete"]
    assert submitted.final_sha256() == undisturbed


@pytest.mark.slow
def test_rank_killed_under_srun_is_a_failure_that_is_tried_again(cluster: Cluster, undisturbed: str) -> None:
    submitted = cluster.submit("rank", "checkpoint.every=2 rounds")
    submitted.wait_round(5)
    kill_training(cluster, "n2", submitted.run_dir)
    submitted.wait_ended("COMPLETED")
    assert [end["kind"] for end in submitted.ends()] == ["failed", "complete"]
    assert submitted.final_sha256() == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_crash_loop_ends_after_three_starts(cluster: Cluster, backend: str) -> None:
    submitted = cluster.submit(f"loop-{backend}", "data.path=packaged:emoji64", "--backend", backend, "--environment", "PYTHONOPTIMIZE=0")
    code = next((submitted.run_dir / "launch").glob("code-*"))
    break_at_round(code, 2)
    submitted.wait_ended("FAILED")
    starts = [json.loads(line) for line in (submitted.run_dir / "attempts.jsonl").read_text().splitlines()]
    assert sum(event["event"] == "start" for event in starts) == 3
    assert submitted.ends()[-1]["exit_code"] == 93
    assert (submitted.verdict()["state"], submitted.verdict()["requeue"]) == ("failed", False)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_sweep_with_one_run_preempted_ends_complete(cluster: Cluster, backend: str) -> None:
    folder = cluster.folder / f"sweep-{backend}"
    size = (f"run_dir={folder}", "until=12 rounds", "--shared-paths", str(cluster.folder), "--nodes", "1", "--warn-s", "15")
    told = cluster.launch("sweep", *SMALL, *size, "--grid", "seed=0,1", "--array-limit", "1", "--backend", backend, "--json")
    array = json.loads(told.stdout)["job"]
    first, second = (Submitted(cluster, folder / name, f"{array}_{index}") for index, name in enumerate(("000", "001")))
    first.wait_round(3)
    cluster.run("scancel", "--signal=USR2", first.job)
    first.wait_ended("COMPLETED")
    second.wait_ended("COMPLETED")
    assert [end["kind"] for end in first.ends()] == ["stopped", "complete"]
    assert [end["kind"] for end in second.ends()] == ["complete"]
    rows = json.loads(cluster.launch("status", folder, "--json").stdout)
    assert [(row["settings"], row["state"]) for row in rows.values()] == [(["seed=0"], "complete"), (["seed=1"], "complete")]


def kill_training(cluster: Cluster, node: str, run_dir: Path) -> None:
    """kill -9 of the training process on a node; its own data workers have no run directory on their command line."""
    cluster.local("exec", node, "pkill", "-KILL", "-f", f"^[^ ]*python( -u)? -m biggan_scale.cli train {run_dir}")


def break_at_round(code: Path, number: int) -> None:
    """A bug in the code that the job runs."""
    loop = code / "biggan_scale" / "engine" / "loop.py"
    text = loop.read_text()
    head = "    def round("
    assert head in text
    at = text.index(":\n", text.index(head)) + 2
    loop.write_text(f"{text[:at]}        assert self.clock.round < {number}, 'a bug'\n{text[at:]}")
