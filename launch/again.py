"""A follow-up job: goes on with a run whose job Slurm will not requeue.

Slurm refuses where a site forbids requeueing, and for a job that it has forgotten. The follow-up is the same script, queued anew.
"""

from __future__ import annotations

from pathlib import Path

from launch import record, slurm


def follow_up(run_dir: Path, job: str, *options: str) -> str:
    """Queue the script of `job` again and return the new job's id; of an array, only this run's element of it.

    Raises:
        EnvironmentFault: Slurm refuses this too.
    """
    _, _, element = job.partition("_")
    script = record.folder(run_dir.absolute().parent if element else run_dir) / "job.sh"
    id = slurm.submit(script, *options, *([f"--array={element}"] if element else []))
    successor = f"{id}_{element}" if element else id
    record.append(run_dir, "follow-up", job=successor, after=job)
    return successor
