"""tell how a run is doing: state, images seen, speed, last checkpoint

Reads the small files of the run directory only, so it can be asked at any time, from any machine that sees the directory.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from biggan_scale.config import json_lines
from biggan_scale.config.errors import ConfigError, EnvironmentFault
from biggan_scale.engine.run_files import json_object, last_json_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="a run directory")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    try:
        status = read(args.run_dir)
    except OSError as error:
        raise EnvironmentFault(f"{error.filename}: {error.strerror}") from error
    print(json.dumps(status) if args.json else describe(status))
    return 0


def read(run_dir: Path) -> dict[str, Any]:
    """All there is to say about a run.

    state: running, preempted, stopped, complete or failed; a run that says running and whose process is gone has failed.
    health: ok; what was not finite at the last record, and the alarms of health.json, in words; unknown before there is either.
    alarms: those of health.json, as it has them; left out as long as nothing has been measured.
    """
    recorded = json_object(run_dir / "state.json")
    if recorded is None:
        raise ConfigError(f"{run_dir} is not a run directory: it has no readable state.json")
    health = json_object(run_dir / "health.json")
    last = last_json_line(run_dir / "metrics.jsonl")
    starts = [attempt for attempt in json_lines.read(run_dir / "attempts.jsonl") if attempt.get("event") == "start"]
    status = {
        "run_dir": str(run_dir),
        "state": recorded["state"],
        "reason": recorded.get("reason", ""),
        "requeue": recorded.get("requeue", False),
        "nimg": recorded.get("nimg", 0),
        "img_per_s": last.get("img_per_s"),
        "checkpoint": _checkpoint(run_dir / "checkpoints"),
        "restarts": max(len(starts) - 1, 0),
        "health": _health(last, health),
    }
    if health is not None:
        status["alarms"] = health.get("alarms", [])
    if status["state"] == "running" and _owner_is_gone(recorded):
        owner = f"process {recorded['pid']} on {recorded['host']}"
        status |= {"state": "failed", "reason": f"{owner} died without a word; run the same command again to resume", "requeue": True}
    return status


def describe(status: dict[str, Any]) -> str:
    """The status for people."""
    speed, checkpoint = status["img_per_s"], status["checkpoint"]
    lines = {
        "state": status["state"] + (f" ({status['reason']})" if status["reason"] else ""),
        "images": f"{status['nimg']:,}",
        "speed": "unknown" if speed is None else f"{speed:.1f} img/s",
        "checkpoint": "none" if checkpoint is None else f"{checkpoint['path']}, {_ago(checkpoint['age_s'])}",
        "restarts": str(status["restarts"]),
        "health": status["health"],
    }
    return f"{status['run_dir']}\n" + "\n".join(f"  {name:11} {text}" for name, text in lines.items())


def _owner_is_gone(recorded: dict[str, Any]) -> bool:
    """Whether the process that wrote the state is known to live no more. Of other machines nothing is known."""
    if recorded.get("host") != socket.gethostname():
        return False
    try:
        os.kill(recorded["pid"], 0)  # signal 0: only asks
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # alive, and another user's
    return _is_zombie(recorded["pid"])


def _is_zombie(pid: int) -> bool:
    """Whether the process has died and is only waiting for its parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False  # no /proc here, or gone this instant


def _checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint with a manifest. Whether its bytes are right is for resuming to find out."""
    for path in sorted(folder.glob("[0-9]*-kimg"), reverse=True):
        manifest = json_object(path / "MANIFEST.json")
        if manifest is not None:
            age_s = time.time() - (path / "MANIFEST.json").stat().st_mtime
            return {"path": str(path), "nimg": manifest["nimg"], "age_s": round(age_s, 1)}
    return None


def _health(record: dict[str, Any], health: dict[str, Any] | None) -> str:
    if not record and health is None:
        return "unknown"
    problems = [f"{name} is not finite" for name, value in record.items() if value is None and not name.startswith("health/")]
    for alarm in (health or {}).get("alarms", []):
        problems.append(f"{alarm['name']}{'' if alarm['confirmed'] else ' (suspected)'}: {alarm['means']}; {alarm['advice']}")
    return ", ".join(problems) or "ok"


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
