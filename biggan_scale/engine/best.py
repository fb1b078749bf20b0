"""Which checkpoint of a run is the best so far, by the evaluations that were made of it: it is not deleted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from biggan_scale.config import json_lines

EVALUATIONS = "evaluations.jsonl"  # in the run directory; `biggan-scale evaluate RUN` appends to it


def best_evaluated(run_dir: Path) -> Path | None:
    """The checkpoint of the lowest FID among the evaluations that are comparable to the newest; None where there is none."""
    found = [record for record in json_lines.read(run_dir / EVALUATIONS) if isinstance(_fid(record), float)]
    if not found:
        return None
    comparable = [record for record in found if _conditions(record) == _conditions(found[-1])]
    best = min(comparable, key=lambda record: _fid(record))
    return run_dir / "checkpoints" / Path(str(_at(best, "source", "path"))).name


def _fid(record: Mapping[str, Any]) -> Any:
    return _at(record, "metrics", "fid", "value")


def _conditions(record: Mapping[str, Any]) -> list[Any]:
    """What an FID depends on besides the model."""
    data = [_at(record, "data", "real", name) for name in ("fingerprint", "num")]
    return [*data, record.get("features"), record.get("fake"), _at(record, "source", "weights")]


def _at(record: Any, *path: str) -> Any:
    for name in path:
        record = record.get(name) if isinstance(record, Mapping) else None
    return record
