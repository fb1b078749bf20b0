"""The argument RUN of the verbs that look after a job: a run directory that has been submitted."""

from __future__ import annotations

import argparse
from pathlib import Path

from biggan_scale.config.errors import ConfigError
from launch import record, slurm


def add_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="a run directory that has been submitted, or that of a sweep")


def members(run_dir: Path) -> list[Path]:
    """The runs that are meant: one, or those of a sweep."""
    return [run_dir / name for name in record.sweep(run_dir)] or [run_dir]


def last_job(run_dir: Path) -> str:
    """The id of the job submitted last.

    Raises:
        ConfigError: none has been, or this is a sweep's directory.
    """
    if names := list(record.sweep(run_dir)):
        raise ConfigError(f"{run_dir} is a sweep; name one of its runs, like {run_dir / names[0]}")
    ids = record.job_ids(run_dir)
    if not ids:
        raise ConfigError(f"{run_dir} has not been submitted: it has no launch/jobs.jsonl; biggan-launch submit CONFIG run_dir={run_dir}")
    return ids[-1]


def live_jobs(run_dir: Path) -> list[tuple[Path, slurm.Job]]:
    """The runs that are meant whose jobs are queued or run, with these.

    Raises:
        ConfigError: all have ended.
    """
    found = [(member, slurm.jobs([last_job(member)])[-1]) for member in members(run_dir)]
    live = [(member, job) for member, job in found if not job.ended]
    if not live:
        raise ConfigError(f"{run_dir}: its job {found[-1][1].id} has ended ({found[-1][1].state}); biggan-launch status {run_dir} says how")
    return live


def log(run_dir: Path, job: str) -> Path:
    """Where the log of a job is: with its run, or with its sweep."""
    paths = [folder / "logs" / f"{job}.log" for folder in (run_dir, run_dir.absolute().parent)]
    return next((path for path in paths if path.exists()), paths[0])
