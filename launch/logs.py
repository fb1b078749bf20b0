"""show the log of a run's job

It has all attempts of the job, and the lines of the training processes with their rank in front. With -f it goes on until the job
has ended, and any that follows it, whatever happens in between.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from biggan_scale.config.errors import ConfigError
from launch import runs, slurm

POLL_S = 0.5
ASK_S = 10.0  # how often Slurm is asked whether there is more to come


def add_arguments(parser: argparse.ArgumentParser) -> None:
    runs.add_argument(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="wait for more, until the job has ended")


def run(args: argparse.Namespace) -> int:
    id = runs.last_job(args.run_dir)
    path = runs.log(args.run_dir, id)
    if args.follow:
        follow(args.run_dir, id)
    elif path.exists():
        sys.stdout.write(path.read_text(errors="replace"))
    else:
        job = slurm.jobs([id])[-1]
        raise ConfigError(f"{path} does not exist: job {id} is {job.state.lower()}{f' ({job.reason})' if job.reason else ''}")
    return 0


def follow(run_dir: Path, id: str) -> None:
    """Print what is and what comes. Slurm is asked first and the file read after, so the last lines are not missed."""
    position, asked, ended = 0, 0.0, False
    while True:
        if time.monotonic() - asked >= ASK_S:
            ended, asked = slurm.jobs([id])[-1].ended, time.monotonic()
        try:
            with runs.log(run_dir, id).open("rb") as file:
                file.seek(position)
                new = file.read()
        except FileNotFoundError:
            new = b""
        position += len(new)
        sys.stdout.write(new.decode(errors="replace"))
        sys.stdout.flush()
        if ended:
            successor = runs.last_job(run_dir)
            if successor == id:
                return
            id, position, asked, ended = successor, 0, 0.0, False
        time.sleep(POLL_S)
