from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from biggan_scale.engine.loop import Engine
from biggan_scale.export.hub import export_run
from support.runs import make_run
from support.tiny import tiny_config


@dataclass(frozen=True)
class Trained:
    """A run of two checkpoints, the engine that made it, and its export. Tests do not change it."""

    run: Path
    engine: Engine
    export: Path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    engine = make_run(folder / "run", tiny_config("precision=fp32"), checkpoints=2)
    export_run(folder / "run", folder / "export")
    return Trained(folder / "run", engine, folder / "export")
