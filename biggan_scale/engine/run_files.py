"""Reading a run directory from outside: its small files, also while the run is writing them, or after it has died in the middle.

Half a line and half a file count as absent. Nothing here loads torch.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from biggan_scale.config.json_lines import parsed

TAIL_BYTES = 64 * 1024  # of metrics.jsonl: more than its last line


def json_object(path: Path) -> dict[str, Any] | None:
    """The object in a file; None where there is no such file, or it holds none."""
    try:
        return parsed(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None


def last_json_line(path: Path) -> dict[str, Any]:
    """The object in the last complete line of a file, or an empty one."""
    return next(filter(None, map(parsed, reversed(last_lines(path)))), {})


def last_lines(path: Path) -> list[bytes]:
    """What the last 64 KiB of a file hold, by lines, the first of them perhaps cut; none where there is no such file."""
    try:
        with path.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - TAIL_BYTES, 0))
            return file.read().splitlines()
    except FileNotFoundError:
        return []
