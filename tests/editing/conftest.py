from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from biggan_scale.config import load_config
from biggan_scale.export.load import Model, load
from support.runs import make_run
from support.tiny import shrink, tiny_config


@dataclass(frozen=True)
class Runs:
    """A StyleGAN2 of three classes that has trained for a moment, so that its layers differ, and a BigGAN."""

    style: Path
    plain: Path

    @property
    def model(self) -> Model:
        return load(self.style)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("editing")
    style = shrink(load_config("stylegan2_tiny", ["batch_size=8", "data.num_classes=3", "data.resolution=16"]).config)
    make_run(folder / "style", style, rounds=10)
    make_run(folder / "plain", tiny_config("precision=fp32"))
    return Runs(folder / "style", folder / "plain")
