"""end a run's job at once, for good

As scancel: the run is told to save, has the time Slurm gives it (KillWait), and is not requeued. `stop` waits for the save instead.
"""

from __future__ import annotations

import argparse

from launch import runs, slurm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    runs.add_argument(parser)


def run(args: argparse.Namespace) -> int:
    for run_dir, job in runs.live_jobs(args.run_dir):
        slurm.command("scancel", job.id)
        print(f"job {job.id}: cancelled; biggan-launch submit takes {run_dir} up again")
    return 0
