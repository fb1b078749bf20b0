"""Hands a job to Slurm: by submitit, or by sbatch itself.

submitit asks for the same `#SBATCH` lines and queues a process whose one act is to become our script, so that nothing of it is left by the
time a signal comes: its own checkpointing runs inside a signal handler on one rank, where ranks cannot agree on anything.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from biggan_scale.config.errors import EnvironmentFault
from launch import record, render, slurm
from launch.job import Job


def queue(job: Job) -> str:
    """Queue the job that has been written to the run directory; its id."""
    script = record.folder(job.run_dir) / "job.sh"
    if job.backend == "torchrun":
        return slurm.submit(script)
    made = executor(job, render.directives(job.config, job.backend, job.logs))
    with slurm.outside_of_jobs(), _told_in_one_line():
        return made.submit(*_become(script)).job_id


def queue_array(script: Path, jobs: Sequence[Job], asked: Mapping[str, str | int | bool]) -> str:
    """Queue a script for several runs as one array; the id of the array."""
    if jobs[0].backend == "torchrun":
        return slurm.submit(script)
    made = executor(jobs[0], asked)
    become = _become(script)
    with slurm.outside_of_jobs(), _told_in_one_line():
        return made.map_array(become[0], *([argument] * len(jobs) for argument in become[1:]))[0].job_id.split("_")[0]


def executor(job: Job, asked: Mapping[str, str | int | bool]) -> Any:
    """submitit's executor, which asks Slurm for what we ask."""
    try:
        import submitit
    except ImportError:
        raise EnvironmentFault(
            "submitit is not installed: pip install 'biggan_scale[slurm]', or use --backend torchrun, which needs nothing"
        ) from None
    made = submitit.SlurmExecutor(folder=record.folder(job.run_dir) / "submitit")
    # these have defaults that are not ours to ask for: five minutes, and twice the name submitit
    made.update_parameters(time=None, wckey=None, job_name=None, use_srun=False, stderr_to_stdout=True, additional_parameters=dict(asked))
    return made


def _become(script: Path) -> tuple[Any, str, list[str]]:
    """What submitit's process does: it replaces itself by the script."""
    return os.execvp, "bash", ["bash", str(script)]


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    try:
        with redirect_stderr(io.StringIO()):  # submitit repeats there what sbatch says
            yield
    except RuntimeError as error:  # submitit's FailedJobError among them
        told = [line for line in str(error).splitlines() if line.strip()]
        raise EnvironmentFault(f"sbatch: {told[-1].split('error: ')[-1] if told else error}") from error
