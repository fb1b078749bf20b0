"""What a pack has finished so far, so that it can go on after a kill: one JSON object a line, the first says what is packed and how.

Each further line is a finished shard and the range of the shuffled samples that went into it; the last says that all is done. A
line is on disk before the next shard begins; one cut by a kill is dropped.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from biggan_scale.config.errors import DataError, EnvironmentFault
from biggan_scale.data.index import Shard, sync_directory

FORMAT = "biggan_scale pack 1"


@dataclass(frozen=True)
class Entry:
    """A finished shard; or, without one, the end of the pack.

    Args:
        shard: None where what was left was only bad samples, or nothing.
        start, stop: the range of the shuffled samples it was made of.
        labels: how many of each label, as text.
        num_upscaled: how many were enlarged.
        skipped: name and reason of those left out.
        is_last: whether nothing comes after it.
    """

    shard: Shard | None
    start: int
    stop: int
    labels: dict[str, int]
    num_upscaled: int
    skipped: list[dict[str, str]]
    is_last: bool


class Journal:
    """The file, locked against a second process that would pack the same.

    Attributes:
        header: the first line; {} where nothing has begun.
        entries: the finished shards in order.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        is_new = not path.exists()
        self._file: BinaryIO = open(path, "a+b")  # noqa: SIM115 - held, for its lock, until `close`
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise EnvironmentFault(f"{path}: another process is packing here; wait for it, or end it") from error
        if is_new:
            sync_directory(path.parent)
        self._file.seek(0)  # and not opened again: closing any descriptor of a file gives up the process's locks on it
        self.header, self.entries, end = _parse(path, self._file)
        self._file.truncate(end)

    @property
    def is_complete(self) -> bool:
        return bool(self.entries) and self.entries[-1].is_last

    def begin(self, header: dict[str, Any]) -> None:
        self.header = {"format": FORMAT, **header}
        self._append(self.header)

    def add(self, entry: Entry) -> None:
        self._append(asdict(entry))
        self.entries.append(entry)

    def close(self) -> None:
        self._file.close()

    def _append(self, tree: dict[str, Any]) -> None:
        self._file.write(json.dumps(tree, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def read_journal(path: Path) -> tuple[dict[str, Any], list[Entry]]:
    """Header and entries of a journal that is not to be written. Raises: DataError."""
    try:
        with open(path, "rb") as file:
            header, entries, _ = _parse(path, file)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    return header, entries


def _parse(path: Path, file: BinaryIO) -> tuple[dict[str, Any], list[Entry], int]:
    """Also the place up to which the lines are whole."""
    header: dict[str, Any] = {}
    entries: list[Entry] = []
    end = 0
    for line in file:
        if not line.endswith(b"\n"):
            break
        try:
            tree = json.loads(line)
            if not header:
                if tree["format"] != FORMAT:
                    raise ValueError(f"its format is {tree['format']!r}")
                header = tree
            else:
                shard = Shard(**tree["shard"]) if tree["shard"] else None
                entries.append(Entry(**{**tree, "shard": shard}))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not a journal of a pack: {error}; remove the directory and pack again") from error
        end += len(line)
    return header, entries, end
