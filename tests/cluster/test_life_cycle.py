"""What a cluster does to a job, and how the job ends: on a real Slurm, to the same bits as a run that nothing happens to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from tests.cluster import hold
from tests.cluster.conftest import BACKENDS, Walk
from tests.cluster.local_slurm import ROUNDS, SMALL, TIMEOUT_S, Cluster, Run, start

pytestmark = pytest.mark.timeout(3 * TIMEOUT_S)
both_backends = pytest.mark.parametrize("backend", BACKENDS)
THREE_TIMES = ("round-2", "round-4", "round-6")


def preempt(run: Run, *where: str) -> None:
    """A job of higher priority takes the nodes for a moment; returns when ours has had to go."""
    ends = len(run.ends())
    run.cluster.run("sbatch", "-p", "high", *where, "--exclusive", "-o", "/dev/null", "--wrap", "srun true")
    run.wait(lambda: len(run.ends()) > ends, "preempted")


def three_preemptions(cluster: Cluster, backend: str) -> Run:
    run = cluster.submit(f"preempted-{backend}", backend=backend, hold_at=THREE_TIMES)
    for place in THREE_TIMES:
        run.wait_held(place)
        preempt(run, "-N2")
    run.wait_ended("COMPLETED")
    assert [end["kind"] for end in run.ends()] == ["stopped"] * 3 + ["complete"], run.log()
    nothing_but_the_run_was_stopped(run)
    return run


def nothing_but_the_run_was_stopped(run: Run) -> None:
    """Slurm signals data workers too, and submitit keeps what a job ended with, also of one that is only requeued."""
    assert "was killed by" not in run.log()
    assert not list((run.run_dir / "launch").rglob("*result*"))


def test_two_nodes_from_submit_to_status_and_logs(cluster: Cluster, walk: Walk) -> None:
    followed, _ = walk.follower.communicate(timeout=TIMEOUT_S)
    assert "0: started in" in followed and "2 ranks" in followed and "0: complete at" in followed
    status = walk.run.status()
    assert (status["state"], status["job"]["state"], status["job"]["attempts"]) == ("complete", "COMPLETED", 1)
    assert status["job"]["nodes"] == "n[1-2]"
    packages = (walk.run.run_dir / "launch" / "packages.txt").read_text().splitlines()
    assert [line for line in packages if line.startswith("torch==")]


def test_preempted_three_times(cluster: Cluster, undisturbed: str) -> None:
    assert three_preemptions(cluster, "submitit").final_sha256() == undisturbed


def test_cancelled_job_stays_cancelled_and_has_saved(cluster: Cluster) -> None:
    cancel(cluster, "submitit")


def cancel(cluster: Cluster, backend: str) -> None:
    run = cluster.submit(f"cancelled-{backend}", backend=backend, hold_at=("round-3",))
    run.wait_held("round-3")
    cluster.launch("cancel", run.run_dir)
    run.wait_ended("CANCELLED")
    run.wait(run.ends, "the last word")
    assert run.final_sha256()
    assert (run.verdict()["state"], run.verdict()["requeue"]) == ("stopped", False)
    assert run.slurm_state() == "CANCELLED"


# The tests from here on take half a minute or more each.


@pytest.mark.slow
def test_preempted_three_times_under_torchrun(cluster: Cluster, undisturbed: str) -> None:
    assert three_preemptions(cluster, "torchrun").final_sha256() == undisturbed


@pytest.mark.slow
@both_backends
def test_preempted_three_times_without_user_signal(silent_cluster: Cluster, undisturbed: str, backend: str) -> None:
    run = three_preemptions(silent_cluster, backend)
    assert all("SIGTERM" in end["reason"] for end in run.ends()[:3])
    assert run.final_sha256() == undisturbed


@pytest.mark.slow  # another cluster of its own
def test_preempted_where_the_site_cancels_a_job_is_quicker(undisturbed: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    for cluster in start(tmp_path_factory.mktemp("cancels"), SLURM_LOCAL_PREEMPT="CANCEL"):
        run = cluster.submit("preempted", hold_at=("round-3",))
        run.wait_held("round-3")
        preempt(run, "-N2")
        run.wait_ended("COMPLETED")
        assert [(end["kind"], end["action"]) for end in run.ends()] == [("stopped", "requeue"), ("complete", "finish")]
        assert run.final_sha256() == undisturbed


@pytest.mark.slow  # another cluster of its own
def test_preempted_without_grace_saves_before_it_is_killed(undisturbed: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    for cluster in start(tmp_path_factory.mktemp("graceless"), SLURM_LOCAL_GRACE="0"):
        run = cluster.submit("preempted", hold_at=("round-3",))
        run.wait_held("round-3")
        preempt(run, "-N2")
        run.wait_ended("COMPLETED")
        assert [(end["kind"], end["action"]) for end in run.ends()] == [("stopped", "leave"), ("complete", "finish")]
        assert "requeued by Slurm; SIGTERM: saved at" in run.ends()[0]["reason"]
        assert run.final_sha256() == undisturbed


@pytest.mark.slow
def test_cancelled_under_torchrun_stays_cancelled_and_has_saved(cluster: Cluster) -> None:
    cancel(cluster, "torchrun")


@pytest.mark.slow
@both_backends
def test_stopped_run_saves_and_goes_on_when_asked(cluster: Cluster, undisturbed: str, backend: str) -> None:
    run = cluster.submit(f"stopped-{backend}", backend=backend, hold_at=("round-3",))
    run.wait_held("round-3")
    cluster.launch("stop", run.run_dir)
    run.wait_ended("COMPLETED")
    assert (run.verdict()["state"], run.verdict()["requeue"]) == ("stopped", False)
    cluster.launch("requeue", run.run_dir)
    run.wait(lambda: run.verdict()["state"] == "complete", "complete")
    assert run.final_sha256() == undisturbed


@pytest.mark.slow
@both_backends
def test_running_job_is_requeued_when_asked(cluster: Cluster, undisturbed: str, backend: str) -> None:
    run = cluster.submit(f"asked-{backend}", backend=backend, hold_at=("round-3",))
    run.wait_held("round-3")
    told = cluster.launch("requeue", run.run_dir).stdout
    assert told == f"job {run.job}: told to save; it will be requeued\n"
    run.wait_ended("COMPLETED")
    assert [(end["kind"], end["action"]) for end in run.ends()] == [("stopped", "requeue"), ("complete", "finish")]
    assert run.final_sha256() == undisturbed


@pytest.mark.slow
def test_job_that_may_not_be_requeued_is_followed_by_another(cluster: Cluster, undisturbed: str) -> None:
    run = cluster.submit("followed", hold_at=("round-3",))
    follower = cluster.launch_in_background("logs", "-f", run.run_dir)
    run.wait_held("round-3")
    cluster.run("scontrol", "update", f"JobId={run.job}", "Requeue=0")
    cluster.run("scancel", "--signal=USR2", run.job)
    run.wait_ended("FAILED")
    (event,) = run.events("follow-up")
    assert event["after"] == run.job
    run.job = event["job"]
    run.wait_ended("COMPLETED")
    assert run.final_sha256() == undisturbed
    assert run.status()["job"]["id"] == run.job
    followed, _ = follower.communicate(timeout=TIMEOUT_S)
    assert f"job {run.job} goes on" in followed and "resumed at" in followed and "complete at" in followed


@pytest.mark.slow
@both_backends
def test_scontrol_requeue(cluster: Cluster, undisturbed: str, backend: str) -> None:
    run = cluster.submit(f"requeued-{backend}", backend=backend, hold_at=("round-3",))
    run.wait_held("round-3")
    cluster.run("scontrol", "requeue", run.job)
    run.wait_ended("COMPLETED")
    nothing_but_the_run_was_stopped(run)
    assert "requeued by Slurm" in run.ends()[0]["reason"]
    assert run.final_sha256() == undisturbed


@pytest.mark.slow
@both_backends
def test_time_limit_is_a_pause(cluster: Cluster, undisturbed: str, backend: str) -> None:
    run = cluster.submit(f"limit-{backend}", "--time", "30", "--warn-s", "120", backend=backend, hold_at=("round-3",))
    run.wait_held("round-3")
    assert set_limit(run, minutes_run(run) + 2)  # nearer than the warning
    run.wait(run.ends, "the limit")
    run.wait(lambda: set_limit(run, 30), "the job takes a limit for its next attempt")
    first = run.ends()[0]
    assert (first["kind"], first["action"]) == ("stopped", "requeue") and "SIGUSR2" in first["reason"]
    run.wait_ended("COMPLETED")
    assert run.final_sha256() == undisturbed


@pytest.mark.slow
def test_time_limit_without_a_warning_is_followed_by_another_job(cluster: Cluster, undisturbed: str) -> None:
    run = cluster.submit("unwarned", "--extra-sbatch=--signal=CONT@60", hold_at=("round-3",))
    run.wait_held("round-3")
    assert set_limit(run, minutes_run(run) + 1)
    run.wait_ended("TIMEOUT")
    assert [(end["kind"], end["action"]) for end in run.ends()] == [("failed", "follow")]
    (event,) = run.events("follow-up")
    assert event["after"] == run.job
    run.job = event["job"]
    run.wait_ended("COMPLETED")
    assert run.final_sha256() == undisturbed


def minutes_run(run: Run) -> int:
    """Whole minutes for which the job has been running."""
    elapsed = run.cluster.run("squeue", "-h", "-j", run.job, "-o", "%M").stdout.strip()  # [hours:]minutes:seconds
    return int(elapsed.split(":")[-2])


def set_limit(run: Run, minutes: int) -> bool:
    """Whether Slurm accepts it: of a job that is just ending it does not."""
    return run.cluster.run("scontrol", "update", f"JobId={run.job}", f"TimeLimit={minutes}", check=False).returncode == 0


@pytest.mark.slow
@both_backends
@pytest.mark.parametrize("node", ["n1", "n2"])
def test_run_goes_on_after_a_node_has_lost_power(cluster: Cluster, undisturbed: str, backend: str, node: str) -> None:
    run = cluster.submit(f"power-{node}-{backend}", "checkpoint.every=2 rounds", backend=backend, hold_at=("round-5",))
    run.wait_held("round-5")
    cluster.local("kill-node", node)
    run.let_go("round-5")
    run.wait(lambda: run.slurm_state() in ("PENDING", "COMPLETING") or run.ends(), "noticed")
    cluster.local("start-node", node)
    run.wait_ended("COMPLETED")
    assert run.final_sha256() == undisturbed


@pytest.mark.slow
def test_worker_killed_under_torchrun_is_restarted_within_the_job(cluster: Cluster, undisturbed: str) -> None:
    run = cluster.submit("worker", "checkpoint.every=2 rounds", backend="torchrun", hold_at=("round-5",))
    late = "import time; time.sleep(8 * (os.environ['RANK'] == '0'))"  # the first rank, so that the other looks for it in vain
    hold.insert(run.code / "biggan_scale" / "dist" / "process_group.py", "start", late)
    kill_a_rank(run)
    run.wait_ended("COMPLETED")
    assert [end["kind"] for end in run.ends()] == ["complete"], run.log()
    assert run.final_sha256() == undisturbed


@pytest.mark.slow
def test_rank_killed_under_srun_is_a_failure_that_is_tried_again(cluster: Cluster, undisturbed: str) -> None:
    run = cluster.submit("rank", "checkpoint.every=2 rounds", hold_at=("round-5",))
    kill_a_rank(run)
    run.wait_ended("COMPLETED")
    assert [end["kind"] for end in run.ends()] == ["failed", "complete"]
    assert run.final_sha256() == undisturbed


def kill_a_rank(run: Run) -> None:
    """kill -9 of the training process on the second node; its data workers have no run directory on their command line."""
    run.wait_held("round-5")
    run.cluster.local("exec", "n2", "pkill", "-KILL", "-f", f"^[^ ]*python( -u)? -m biggan_scale.cli train {run.run_dir}")
    run.let_go("round-5")


@pytest.mark.slow
@both_backends
def test_crash_loop_ends_after_three_starts(cluster: Cluster, backend: str) -> None:
    run = cluster.submit(f"loop-{backend}", backend=backend, hold_at=("start",))
    hold.insert(run.code / "biggan_scale" / "engine" / "loop.py", "round", "assert self.clock.round < 2, 'a bug'")
    run.let_go("start")
    run.wait_ended("FAILED")
    starts = [json.loads(line) for line in (run.run_dir / "attempts.jsonl").read_text().splitlines()]
    assert sum(event["event"] == "start" for event in starts) == 3
    assert run.ends()[-1]["exit_code"] == 93
    assert (run.verdict()["state"], run.verdict()["requeue"]) == ("failed", False)


@pytest.mark.slow
def test_stops_without_progress_have_an_end_too(cluster: Cluster) -> None:
    run = cluster.submit("budget", hold_at=("start",))
    decide = run.code / "launch" / "decide.py"
    assert "\nSTOPS = 10\n" in decide.read_text()
    decide.write_text(decide.read_text().replace("\nSTOPS = 10\n", "\nSTOPS = 2\n"))
    for times in (1, 2):
        run.wait_held("start", 2 * times)  # both ranks
        cluster.run("scancel", "--signal=USR2", run.job)
        run.wait(lambda times=times: len(run.ends()) == times, "stopped")
    run.wait_ended("FAILED")
    assert [(end["action"], end["exit_code"]) for end in run.ends()] == [("requeue", 75), ("finish", 93)]
    assert (run.verdict()["state"], run.verdict()["requeue"]) == ("failed", False)


@pytest.mark.slow
@both_backends
def test_sweep_with_one_run_preempted_ends_complete(cluster: Cluster, backend: str) -> None:
    folder = cluster.folder / f"sweep-{backend}"
    size = ("--nodes", "1", "--exclusive", "--warn-s", "15", "--grid", "seed=0,0", "--backend", backend)
    command = ("sweep", *SMALL, *cluster.where(folder.name), *size)
    cluster.launch(*command, "--dry-run")
    hold.put_into(Run(cluster, folder).code)
    (folder / "000" / "hold").write_text("round-3\n")
    array = json.loads(cluster.launch(*command, "--json").stdout)["job"]
    first, second = (Run(cluster, folder / name, f"{array}_{index}") for index, name in enumerate(("000", "001")))
    first.wait_held("round-3")
    preempt(first, "--nodelist", cluster.run("squeue", "-h", "-j", first.job, "-o", "%N").stdout.strip())
    first.wait_ended("COMPLETED")
    second.wait_ended("COMPLETED")
    assert [end["kind"] for end in first.ends()] == ["stopped", "complete"]
    assert [end["kind"] for end in second.ends()] == ["complete"]
    rows = json.loads(cluster.launch("status", folder, "--json").stdout)
    assert [(name, row["state"], row["nimg"]) for name, row in rows.items()] == [(name, "complete", 32 * ROUNDS) for name in ("000", "001")]
    assert first.final_sha256() == second.final_sha256(), "same seed, so the same run"
    assert cluster.launch("requeue", folder).stdout.count("is complete already") == 2


@pytest.mark.slow
@both_backends
@pytest.mark.parametrize("signal", ["TERM", "USR2", "INT"])
def test_signal_may_come_at_any_moment(
    cluster: Cluster, undisturbed: str, signal: str, backend: str, record_property: Callable[[str, object], None]
) -> None:
    moments = ("round-2", "save round-4", "snapshot")  # a save goes on beside the next round
    every = ("checkpoint.every=4 rounds", "snapshot.every=3 rounds")
    run = cluster.submit(f"signal-{signal}-{backend}", *every, backend=backend, hold_at=moments)
    for times, moment in enumerate(moments, 1):
        for place in moment.split():
            run.wait_held(place)
        cluster.run("scancel", f"--signal={signal}", run.job)
        signalled = time.monotonic()
        run.wait(lambda times=times: len(run.ends()) == times, f"end after {moment}")
        record_property(f"reaction_s {moment}", round(time.monotonic() - signalled, 2))
        assert (run.ends()[-1]["kind"], run.ends()[-1]["action"]) == ("stopped", "requeue"), run.log()
        assert f"SIG{signal}: saved at" in run.ends()[-1]["reason"]
    run.wait_ended("COMPLETED")
    nothing_but_the_run_was_stopped(run)
    assert run.final_sha256() == undisturbed
