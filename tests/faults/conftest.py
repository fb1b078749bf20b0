"""The images that runs of a second are trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from biggan_scale.data.packaged import open_dataset


@pytest.fixture(scope="session")
def images() -> Path:
    return open_dataset("packaged:emoji64", resolution=8, channels=3).path
