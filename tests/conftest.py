"""Fixtures for every test: a fixed random state, and shards of random images."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support.shards import Made
from support.shards import make_shards as make_shards_in

torch.manual_seed(0)  # layers that a parametrisation makes are made when the file is imported


@pytest.fixture(autouse=True)
def fixed_random_state() -> None:
    """A test that fails fails every time."""
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


@pytest.fixture
def make_shards(tmp_path: Path) -> Callable[..., Made]:
    """make_shards(num=..., channels=..., **options of the pack), each time in a new place."""
    number = count()

    def make(**options: Any) -> Made:
        return make_shards_in(tmp_path / f"made{next(number)}", **options)

    return make
