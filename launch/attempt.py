"""`python -m launch.attempt RUN -- srun ...`: one attempt of a job, on its first node. The batch script becomes this process.

It starts the training processes, waits, and then has the job requeued, or ends with the exit code that says why not. Signals for the
training processes reach them directly from Slurm; here they are only kept from ending the one who has to decide. At the time limit it
decides at once, since Slurm may kill it with the others before they have ended. Loads nothing beyond the standard library and our error
classes: it runs on the node, outside of any container.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from biggan_scale.config.errors import EnvironmentFault
from launch import again, packages, record, slurm
from launch.decide import REQUEUE, Decision, Ending, decide, decide_at_limit

ENDING_S = 60  # how long to wait for Slurm to end a job that has been requeued


def main(argv: list[str]) -> int:
    run_dir, command = Path(argv[0]), argv[argv.index("--") + 1 :]
    job, restart = _job(), int(os.environ.get("SLURM_RESTART_COUNT", 0))
    for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT):
        signal.signal(number, _stay)
    history = record.events(run_dir)
    changed = packages.keep(record.folder(run_dir) / "packages.txt")
    where = {"host": socket.gethostname(), "nodes": os.environ.get("SLURM_JOB_NODELIST"), "python": sys.executable}
    record.append(run_dir, "begin", job=job, restart=restart, **where, packages_changed=changed)
    if changed:
        _say(f"packages have changed since the last attempt, and so may results: {', '.join(changed)}")
    if record.stop_file(run_dir).exists():
        return _end(run_dir, job, restart, 0, Decision("finish", "stopped", "stopped by request before it began"))
    at_limit: list[int] = []  # the exit code, once Slurm has ended the job for its time limit

    def terminated(*_: object) -> None:
        if not at_limit and _facts(job).get("Reason") == "TimeLimit" and not record.stop_file(run_dir).exists():
            at_limit.append(REQUEUE)  # before anything else: a second SIGTERM may come in between
            decision = decide_at_limit(history, record.newest_checkpoint(run_dir))
            at_limit[:] = [_end(run_dir, job, restart, 0, decision)]

    signal.signal(signal.SIGTERM, terminated)
    exit_code = subprocess.run(command, check=False).returncode
    signal.signal(signal.SIGTERM, _stay)
    if at_limit:
        return at_limit[0]
    return _end(run_dir, job, restart, exit_code, decide(_ending(run_dir, job, restart, exit_code), history))


def _stay(*_: object) -> None:
    """A handler that does nothing, in place of SIG_IGN, which srun would inherit."""


def _ending(run_dir: Path, job: str, restart: int, exit_code: int) -> Ending:
    verdict = record.state(run_dir)
    ours = verdict.get("job") == f"{os.environ['SLURM_JOB_ID']}.{restart}" and verdict.get("state") != "running"
    facts = _facts(job)
    return Ending(
        exit_code=128 - exit_code if exit_code < 0 else exit_code,
        verdict=verdict if ours else {},
        job_state=facts.get("JobState", "RUNNING"),
        requeued=int(facts.get("Restarts", restart)) > restart,
        stop_asked=record.stop_file(run_dir).exists(),
        checkpoint=record.newest_checkpoint(run_dir),
    )


def _end(run_dir: Path, job: str, restart: int, exit_code: int, decision: Decision) -> int:
    code = decision.exit_code
    record.append(
        run_dir,
        "end",
        job=job,
        restart=restart,
        srun=exit_code,
        kind=decision.kind,
        action=decision.action,
        exit_code=code,
        reason=decision.reason,
        checkpoint=record.newest_checkpoint(run_dir),
    )
    _say(f"{decision.action}: {decision.reason}")
    if decision.action == "requeue":
        return _requeue(run_dir, job)
    if decision.action == "follow":
        return _follow(run_dir, job, decision.reason)
    if decision.kind != "complete" and "requeued by Slurm" not in decision.reason:
        record.amend_state(run_dir, state=decision.kind, reason=decision.reason, requeue=False, exit_code=code)
    return code


def _requeue(run_dir: Path, job: str) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        slurm.command("scontrol", "requeue", job)
    except EnvironmentFault as refused:
        if _facts(job).get("JobState", "RUNNING") == "RUNNING":  # else somebody was quicker
            return _follow(run_dir, job, f"cannot requeue: {refused}")
    signal.sigtimedwait({signal.SIGTERM}, ENDING_S)  # by which Slurm ends this job now, and kills it KillWait later
    return REQUEUE


def _follow(run_dir: Path, job: str, why: str) -> int:
    """This job may not begin again, so another is to go on."""
    try:
        _say(f"{why}; job {again.follow_up(run_dir, job, f'--dependency=afterany:{job}')} goes on")
    except EnvironmentFault as error:
        way_out = f"{why}; nor can another job follow ({error}); biggan-launch requeue {run_dir} goes on"
        record.amend_state(run_dir, reason=way_out, requeue=True)
        _say(way_out)
    return REQUEUE


def _facts(job: str) -> dict[str, str]:
    try:
        return slurm.job_facts(slurm.command("scontrol", "show", "job", "-o", job))
    except EnvironmentFault as error:
        _say(f"Slurm does not say what becomes of this job: {error}")
        return {}


def _job() -> str:
    """The name people know this job by; of an element of an array, ARRAY_INDEX."""
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ["SLURM_JOB_ID"]


def _say(message: str) -> None:
    print(f"biggan-launch: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
