"""What was submitted and what became of it: `RUN/launch/`.

config.yaml      the resolved configuration that the job runs
job.sh           the batch script
code-DIGEST/     the snapshot of the code
packages.txt     the packages of the Python that ran the last attempt
jobs.jsonl       one line per event: submitted (what, by whom, from where), begin and end of each attempt, follow-up (a further job, where
                 Slurm does not requeue), asked (a person wants more)
STOP             a person wants no further attempt

A sweep's directory has the runs in it, and of these only job.sh, the code, and sweep.json: the settings of each run.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from biggan_scale.config import json_lines


def folder(run_dir: Path) -> Path:
    return run_dir / "launch"


def append(run_dir: Path, event: str, **facts: Any) -> None:
    """A line of jobs.jsonl."""
    json_lines.append(folder(run_dir) / "jobs.jsonl", {"event": event, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **facts})


def events(run_dir: Path) -> list[dict[str, Any]]:
    return [event for event in json_lines.read(folder(run_dir) / "jobs.jsonl") if "event" in event]


def job_ids(run_dir: Path) -> list[str]:
    """The jobs of a run, oldest first; also one whose script was queued by hand, and follow-ups."""
    return list(dict.fromkeys(event["job"] for event in events(run_dir) if event["event"] in ("submitted", "begin", "follow-up")))


def ask_again(run_dir: Path) -> None:
    """A person wants the run to go on: no stop, and the counts of failures begin anew, ours and the training's (attempts.jsonl)."""
    stop_file(run_dir).unlink(missing_ok=True)
    append(run_dir, "asked")
    if (run_dir / "attempts.jsonl").exists():
        json_lines.append(run_dir / "attempts.jsonl", {"event": "asked"})


def write_sweep(folder_of_runs: Path, settings: dict[str, list[str]]) -> None:
    (folder(folder_of_runs) / "sweep.json").write_text(json.dumps(settings, indent=1) + "\n")


def sweep(run_dir: Path) -> dict[str, list[str]]:
    """The names of a sweep's runs, each with its settings; empty if this is not the directory of a sweep."""
    try:
        return json.loads((folder(run_dir) / "sweep.json").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}


def stop_file(run_dir: Path) -> Path:
    return folder(run_dir) / "STOP"


def state(run_dir: Path) -> dict[str, Any]:
    """The verdict of the training itself; empty if there is none yet."""
    try:
        verdict = json.loads((run_dir / "state.json").read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return verdict if isinstance(verdict, dict) else {}


def amend_state(run_dir: Path, **facts: Any) -> None:
    """Correct the verdict by what the training could not know: that nobody will start it again, or that it died without a word."""
    temporary = run_dir / f".state.json.{os.getpid()}"
    temporary.write_text(json.dumps(state(run_dir) | facts, indent=1) + "\n")
    os.replace(temporary, run_dir / "state.json")


def newest_checkpoint(run_dir: Path) -> str:
    """The name of the newest checkpoint, by which progress is told; empty before the first."""
    return max((path.parent.name for path in (run_dir / "checkpoints").glob("[0-9]*-kimg/MANIFEST.json")), default="")
