"""stop a run in good order

It saves, its job ends, and is not requeued. A job that only waits in the queue is cancelled. To go on, submit the run again, or
`biggan-launch requeue` it.
"""

from __future__ import annotations

import argparse

from launch import record, runs, slurm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    runs.add_argument(parser)


def run(args: argparse.Namespace) -> int:
    for run_dir, job in runs.live_jobs(args.run_dir):
        record.stop_file(run_dir).touch()
        if job.state == "RUNNING":
            slurm.command("scancel", "--signal=USR2", job.id)
            print(f"job {job.id}: told to save and stop; biggan-launch logs -f {run_dir} shows it")
        else:
            slurm.command("scancel", job.id)
            print(f"job {job.id}: was {job.state.lower()}, taken out of the queue")
    return 0
