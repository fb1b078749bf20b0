"""start a run's job again

A running one is told to save first; an ended one goes on from its newest checkpoint. The counts of failed starts begin anew, since
somebody has had a look.
"""

from __future__ import annotations

import argparse

from launch import record, runs, slurm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    runs.add_argument(parser)


def run(args: argparse.Namespace) -> int:
    for run_dir in runs.members(args.run_dir):
        job = slurm.jobs([runs.last_job(run_dir)])[-1]
        record.ask_again(run_dir)
        if job.state == "RUNNING":
            slurm.command("scancel", "--signal=USR2", job.id)  # saves; launch/attempt.py then has the job requeued
            print(f"job {job.id}: told to save; it will be requeued")
        elif not job.ended:
            print(f"job {job.id}: is {job.state.lower()} already")
        else:
            slurm.command("scontrol", "requeue", job.id)
            print(f"job {job.id}: requeued")
    return 0
