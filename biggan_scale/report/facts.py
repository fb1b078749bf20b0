"""What a run directory says, gathered for the page. Read only, and at any moment: files may be absent, half-written or about to go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biggan_scale.config import json_lines
from biggan_scale.config.errors import CheckpointError
from biggan_scale.engine import checkpoint
from biggan_scale.engine.run_files import json_object, last_lines
from biggan_scale.report import series

LOG_LINES = 60  # of log.txt, the last
SET_ASIDE = "BAD_"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint directory. `problem`: why it cannot be resumed from; empty if it can."""

    name: str
    manifest: Mapping[str, Any]
    problem: str

    @property
    def bytes(self) -> int:
        return sum(entry["bytes"] for entry in self.manifest["files"].values()) if self.manifest else 0


@dataclass(frozen=True)
class Attempt:
    """A start of the run, and how it ended; None where it left no word."""

    start: Mapping[str, Any]
    end: Mapping[str, Any] | None


@dataclass(frozen=True)
class Facts:
    """Args:
    status: as `biggan-scale status --json` has it.
    summary: what is trained on what, in a line; empty where this version cannot read the configuration.
    identity: run.json. config: config.yaml as it stands there.
    health: health.json, None where nothing was measured.
    lines: every number of metrics.jsonl.
    sheets: files of samples, and of reconstructions where there are any, oldest first.
    stacks: files that tell where the ranks stood when the run hung.
    """

    status: Mapping[str, Any]
    summary: str
    identity: Mapping[str, Any]
    config: str
    health: Mapping[str, Any] | None
    lines: Mapping[str, series.Series]
    sheets: Mapping[str, list[Path]]
    checkpoints: list[Checkpoint]
    attempts: list[Attempt]
    log: list[str]
    stacks: list[str]


def gather(run_dir: Path, status: Mapping[str, Any], summary: str) -> Facts:
    """Raises: OSError where the directory cannot be read."""
    return Facts(
        status=status,
        summary=summary,
        identity=json_object(run_dir / "run.json") or {},
        config=_text(run_dir / "config.yaml"),
        health=json_object(run_dir / "health.json"),
        lines=series.read(json_lines.read(run_dir / "metrics.jsonl")),
        sheets=_sheets(run_dir / "samples"),
        checkpoints=_checkpoints(run_dir / "checkpoints"),
        attempts=_attempts(run_dir / "attempts.jsonl"),
        log=[line.decode(errors="replace") for line in last_lines(run_dir / "log.txt")[-LOG_LINES:]],
        stacks=sorted(path.name for path in (run_dir / "stacks").glob("*")),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""


def _sheets(folder: Path) -> dict[str, list[Path]]:
    """Files by kind: "000012.800-kimg.png" are samples, "000012.800-kimg-reconstructions.png" what their name says."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*-kimg*.png")):
        found.setdefault(path.stem.partition("-kimg")[2].strip("-") or "samples", []).append(path)
    return dict(sorted(found.items(), key=lambda item: item[0] != "samples"))


def _checkpoints(folder: Path) -> list[Checkpoint]:
    """Newest first, then those set aside."""
    found = [_checkpoint(path) for path in checkpoint.checkpoints(folder)]
    found += [Checkpoint(path.name, {}, "set aside") for path in sorted(folder.glob(f"{SET_ASIDE}*"), reverse=True)]
    return [one for one in found if (folder / one.name).exists()]  # the run deletes old ones


def _checkpoint(path: Path) -> Checkpoint:
    try:
        problem = checkpoint.problem_of(path)
    except CheckpointError as error:  # of a newer version
        problem = str(error)
    manifest = None if problem else json_object(path / checkpoint.MANIFEST)
    return Checkpoint(path.name, manifest or {}, problem or "")


def _attempts(path: Path) -> list[Attempt]:
    """Each start with the end that was written before the next."""
    found: list[Attempt] = []
    for event in json_lines.read(path):
        if event.get("event") == "start":
            found.append(Attempt(event, None))
        elif event.get("event") == "end":
            started = found.pop() if found and found[-1].end is None else Attempt({}, None)
            found.append(Attempt(started.start, event))
    return found
