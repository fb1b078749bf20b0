"""Lines that are appended by processes that may die, to disks that may be full."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from biggan_scale.config import json_lines


@contextmanager
def room_for(num_bytes: int) -> Iterator[None]:
    """Inside, no file grows beyond it: as on a full disk, a write takes a part and the next is refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_line_that_fits_in_part_is_an_error_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path, first, second, third = tmp_path / "lines.jsonl", {"a": 1}, {"b": "x" * 100}, {"c": 3}
    json_lines.append(path, first)
    with room_for(50), pytest.raises(OSError, match="too large"):
        json_lines.append(path, second)
    assert path.stat().st_size == 50
    json_lines.append(path, third)
    assert json_lines.read(path) == [first, third]
