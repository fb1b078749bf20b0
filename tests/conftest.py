"""The fixture that makes shards of random images."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from support.shards import Made
from support.shards import make_shards as make_shards_in


@pytest.fixture
def make_shards(tmp_path: Path) -> Callable[..., Made]:
    """make_shards(num=..., channels=..., **options of the pack), each time in a new place."""
    number = count()

    def make(**options: Any) -> Made:
        return make_shards_in(tmp_path / f"made{next(number)}", **options)

    return make
