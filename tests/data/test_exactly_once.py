"""Each sample once an epoch, in one order, through changing numbers of ranks and any number of deaths."""

from __future__ import annotations

import io
import random
import tarfile
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from biggan_scale.data.foreign import index_tars
from biggan_scale.data.index import Dataset
from biggan_scale.data.loader import Loader
from biggan_scale.data.order import GlobalOrder

NUM_SHARDS = 37
EPOCHS = 3
WORLDS = (1, 2, 4, 2)
NUM_KILLS = 20
BATCH = 12  # global


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """37 uneven shards of one-pixel images, each of which has its number as its colour."""
    place, draw, number = tmp_path_factory.mktemp("numbered"), random.Random(1), count()
    for shard in range(NUM_SHARDS):
        with tarfile.open(place / f"{shard:02}.tar", "w") as tar:
            for _ in range(draw.randint(1, 40)):
                sample = next(number)
                image = io.BytesIO()
                np.lib.format.write_array(image, np.array([[(*divmod(sample, 256), 0)]], np.uint8))
                member = tarfile.TarInfo(f"{sample:06}.npy")
                member.size = len(image.getvalue())
                tar.addfile(member, io.BytesIO(image.getvalue()))
    return index_tars(place)


def order_of(dataset: Dataset) -> GlobalOrder:
    return GlobalOrder(dataset.shard_sizes, seed=5, window=4)


def rank_ranges(start: int, rank: int, world: int):
    per_rank = BATCH // world
    return ((batch + rank * per_rank, batch + (rank + 1) * per_rank) for batch in count(start, BATCH))


def numbers(images) -> list[int]:
    return [int(high) * 256 + int(low) for high, low, _ in images[:, :, 0, 0].tolist()]


def test_each_sample_once_an_epoch_through_20_deaths_and_four_worlds(dataset: Dataset) -> None:
    total = EPOCHS * dataset.num_samples
    draw = random.Random(2)
    deaths = sorted(draw.sample(range(1, total // BATCH), NUM_KILLS))  # batches at which everything dies
    seen: list[int] = []
    for life, death in enumerate([*deaths, total // BATCH + 1]):
        world = WORLDS[life % len(WORLDS)]
        position = len(seen)  # all that a checkpoint knows
        loaders = [Loader(dataset, order_of(dataset), workers=draw.choice([0, 0, 2]), flip=True, seed=0) for _ in range(world)]
        streams = [loader.ranges(rank_ranges(position, rank, world)) for rank, loader in enumerate(loaders)]
        while len(seen) < death * BATCH:
            for stream in streams:
                images, _, positions = next(stream)
                assert positions.tolist() == list(range(len(seen), len(seen) + len(images)))
                seen += numbers(images)
        if draw.random() < 0.5:  # in the middle of a batch: some ranks have read it, none has counted it
            next(streams[0])
        for loader in loaders:
            loader.close()
    seen = seen[:total]
    one_process = Loader(dataset, order_of(dataset), workers=0, flip=False, seed=0)
    [(images, _, _)] = one_process.ranges([(0, total)])
    assert seen == numbers(images)
    for epoch in range(EPOCHS):
        part = seen[epoch * dataset.num_samples : (epoch + 1) * dataset.num_samples]
        assert sorted(part) == list(range(dataset.num_samples))
    assert seen[: dataset.num_samples] != seen[dataset.num_samples : 2 * dataset.num_samples]


def test_the_shards_are_uneven(dataset: Dataset, tmp_path: Path) -> None:
    assert len(dataset.shards) == NUM_SHARDS and len(set(dataset.shard_sizes.tolist())) > 15
