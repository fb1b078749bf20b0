"""tell how a run and its job are doing

The run is asked by its small files, the job by squeue, scontrol, and sacct where it answers.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from biggan_scale.cli import status as run_status
from launch import record, runs, slurm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    runs.add_argument(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    if settings := record.sweep(args.run_dir):
        rows = {name: {"settings": settings[name], **read(args.run_dir / name)} for name in settings}
        print(json.dumps(rows) if args.json else table(rows))
    else:
        status = read(args.run_dir)
        print(json.dumps(status) if args.json else describe(status))
    return 0


def read(run_dir: Path) -> dict[str, Any]:
    """What `biggan-scale status` says, and of the job: id, state, reason, nodes, elapsed, limit, attempts.

    A run that says running or preempted, and whose job has ended, has failed: nobody is going to take it up.
    """
    job = slurm.jobs([runs.last_job(run_dir)])[-1]
    attempts = [event for event in record.events(run_dir) if event["event"] in ("begin", "end")]
    about = {"id": job.id, "state": job.state, "reason": job.reason, "nodes": job.nodes, "elapsed": job.elapsed, "limit": job.limit}
    status: dict[str, Any]
    if record.state(run_dir):
        status = run_status.read(run_dir)
    else:
        nothing = {"requeue": False, "nimg": 0, "img_per_s": None, "checkpoint": None, "restarts": 0, "health": "unknown"}
        status = {"run_dir": str(run_dir), **_before_training(job), **nothing}
    if job.ended and job.state != "UNKNOWN" and status["state"] in ("running", "preempted"):
        status |= {"state": "failed", "reason": f"job {job.id} has ended: {job.state}; submit it again to go on", "requeue": False}
    elif job.state == "PENDING" and status["state"] == "running":
        status |= {"state": "preempted", "reason": "waits to start again", "requeue": True}
    about_job = about | {"attempts": sum(event["event"] == "begin" for event in attempts)}
    return status | {"losses": _losses(run_dir), "job": about_job, "last_end": _last_end(attempts)}


def _before_training(job: slurm.Job) -> dict[str, str]:
    """The state of a run that has not yet begun to write one of its own."""
    if job.ended:
        state = "stopped" if job.state == "CANCELLED" else "failed"
        return {"state": state, "reason": f"job {job.id} has ended before training began: {job.state}"}
    return {"state": "starting" if job.state == "RUNNING" else "queued", "reason": ""}


def describe(status: dict[str, Any]) -> str:
    """The status for people."""
    job = status["job"]
    facts = [f"on {job['nodes']}" * bool(job["nodes"]), f"{job['elapsed']} of {job['limit']}" * bool(job["elapsed"])]
    text = ", ".join(filter(None, [job["state"].lower() + f" ({job['reason']})" * bool(job["reason"]), *facts]))
    lines = {"job": f"{job['id']} {text}", "attempts": str(job["attempts"]), "last end": status["last_end"] or "none"}
    return run_status.describe(status) + "\n" + "\n".join(f"  {name:11} {value}" for name, value in lines.items())


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The status of a sweep: a line for each run, with the last values of its losses."""
    head = ("run", "settings", "state", "job", "images", "losses")
    lines = [head]
    for name, row in rows.items():
        losses = " ".join(f"{key} {value:.4g}" for key, value in row["losses"].items() if value is not None)
        lines.append((name, " ".join(row["settings"]), row["state"], row["job"]["state"].lower(), f"{row['nimg']:,}", losses))
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join("  ".join(f"{word:{width}}" for word, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def _losses(run_dir: Path) -> dict[str, float | None]:
    try:
        last = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])
    except (FileNotFoundError, IndexError, ValueError):
        return {}
    return {name: value for name, value in last.items() if name.endswith("/loss")}


def _last_end(attempts: list[dict[str, Any]]) -> str:
    """Why the last attempt ended that has: one that says nothing was killed with its node, or by Slurm."""
    if len(attempts) > 1 and attempts[-1]["event"] == "begin" and attempts[-2]["event"] == "begin":
        return "without a word: killed with its node or by Slurm"
    return next((f"{event['action']}: {event['reason']}" for event in reversed(attempts) if event["event"] == "end"), "")
