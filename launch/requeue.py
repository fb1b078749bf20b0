"""start a run's job again

A running one is told to save first; an ended one goes on from its newest checkpoint, in a new job where Slurm does not requeue the old one.
The counts of failed starts begin anew, since somebody has had a look.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from biggan_scale.config.errors import EnvironmentFault
from launch import again, record, runs, slurm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    runs.add_argument(parser)


def run(args: argparse.Namespace) -> int:
    for run_dir in runs.members(args.run_dir):
        job = slurm.jobs([runs.last_job(run_dir)])[-1]
        if record.events(run_dir)[-1].get("kind") == "complete":
            print(f"job {job.id}: {run_dir} is complete already")
            continue
        record.ask_again(run_dir)
        if job.state == "RUNNING":
            slurm.command("scancel", "--signal=USR2", job.id)  # saves; launch/attempt.py then has the job requeued
            print(f"job {job.id}: told to save; it will be requeued")
        elif job.state == "COMPLETING":
            raise EnvironmentFault(f"job {job.id} is still ending; ask again in a moment")
        elif not job.ended:
            print(f"job {job.id}: is {job.state.lower()} already")
        else:
            _start_again(run_dir, job.id)
    return 0


def _start_again(run_dir: Path, job: str) -> None:
    try:
        slurm.command("scontrol", "requeue", job)
        print(f"job {job}: requeued")
    except EnvironmentFault as refused:
        print(f"job {again.follow_up(run_dir, job)}: goes on, since Slurm does not requeue job {job} ({refused})")
