from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from biggan_scale.data.index import Dataset
from biggan_scale.data.loader import Loader
from biggan_scale.data.order import GlobalOrder
from biggan_scale.engine.loop import Engine
from support.runs import make_run
from support.shards import make_shards
from support.tiny import tiny_config

NUM_IMAGES = 60


@dataclass(frozen=True)
class Subject:
    """A run of one checkpoint, the engine that made it, and images of its size in three classes."""

    run: Path
    engine: Engine
    data: Path

    def real_images(self, num: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The first `num` images, in [-1, 1], and labels of the order that evaluations take."""
        dataset = Dataset.open(self.data)
        loader = Loader(dataset, GlobalOrder(dataset.shard_sizes, 0), workers=0, flip=False, seed=0)
        images, labels, _ = next(loader.ranges([(0, num)]))
        return images / 127.5 - 1, labels


@pytest.fixture(scope="session")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = tmp_path_factory.mktemp("subject")
    made = make_shards(folder, num=NUM_IMAGES, resolution=(32, 32))
    engine = make_run(folder / "run", tiny_config("precision=fp32", "data.num_classes=3"))
    return Subject(folder / "run", engine, made.dataset.path)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BIGGAN_SCALE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
