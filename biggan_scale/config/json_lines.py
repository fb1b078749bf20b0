"""Files of one JSON object a line, to which processes append that may die at any moment: a torn line harms no other."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read(path: Path) -> list[dict[str, Any]]:
    """The objects, in order. A line that a death or a full disk has torn, or that is damaged, is passed over; no file is no lines."""
    try:
        lines = path.read_bytes().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [record for line in lines if (record := parsed(line)) is not None]


def append(path: Path, record: Mapping[str, Any]) -> None:
    """In one write, so that lines of different processes do not mix; on a line of its own, if the last one was torn."""
    with path.open("a+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        torn = end > 0 and os.pread(file.fileno(), 1, end - 1) != b"\n"
        content = b"\n" * torn + line(record)
        while content:  # once, but for a disk that is about to be full: it takes a part, and at the next try says so
            content = content[file.write(content) :]


def line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"


def parsed(text: bytes) -> dict[str, Any] | None:
    """The object in a line or file; None for half of one."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
