"""No bit of a data set changes, and no byte is lost, without being noticed; and nothing wrong is ever handed to training."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from biggan_scale.config.errors import DataError
from biggan_scale.data.index import DATASET_FILE, Dataset
from biggan_scale.data.reader import Reader
from biggan_scale.data.verify import verify
from support.shards import Made

NUM_FLIPS = 500
NUM_TRUNCATIONS = 200


@pytest.fixture
def place(make_shards: Callable[..., Made]) -> Path:
    return make_shards(num=12, shard_samples=5, encode="png").dataset.path


def flipped(content: bytes, draw: random.Random) -> bytes:
    damaged = bytearray(content)
    damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def truncated(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))]


def content_of(path: Path) -> list[tuple[bytes, int]]:
    """Pixels and label of every sample, as training gets them. Raises: DataError."""
    dataset = Dataset.open(path)
    reader, out, found = Reader(dataset), np.empty((dataset.height, dataset.width, dataset.channels), np.uint8), []
    for shard, described in enumerate(dataset.shards):
        for index in range(described.num_samples):
            label = reader.read_pixels(shard, index, out)
            found.append((out.tobytes(), label))
    return found


def is_noticed(path: Path) -> bool:
    try:
        return bool(verify(path)[1])
    except DataError:
        return True


@pytest.mark.parametrize(("damage", "num"), [(flipped, NUM_FLIPS), (truncated, NUM_TRUNCATIONS)], ids=["bit flips", "truncations"])
def test_no_damage_passes_unnoticed(place: Path, damage: Callable[[bytes, random.Random], bytes], num: int) -> None:
    draw = random.Random(0)
    right = content_of(place)
    files = sorted(file for file in place.iterdir() if file.suffix in (".tar", ".npy") or file.name == DATASET_FILE)
    assert len(files) == 2 * 3 + 1
    unnoticed, wrong, num_refused = [], [], 0
    for number in range(num):
        file = files[number % len(files)]  # the same number for each, however small
        whole = file.read_bytes()
        file.write_bytes(damage(whole, draw))
        if not is_noticed(place):
            unnoticed.append((number, file.name))
        try:
            if content_of(place) != right:
                wrong.append((number, file.name))
        except DataError as error:
            num_refused += 1
            assert "\n" not in str(error)
        file.write_bytes(whole)
    assert not unnoticed, "verify finds nothing"
    assert not wrong, "training would have seen something else"
    assert num_refused > num // 2  # the rest lies where nobody reads: headers and padding of the tars
    assert not is_noticed(place)


def test_every_truncation_of_a_tar_is_refused_at_the_start(place: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(place, tmp_path / "copy"))
    file = copy / "shard-00001.tar"
    whole = file.read_bytes()
    for length in (0, 512, len(whole) // 2, len(whole) - 512, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(DataError, match=rf"shard-00001\.tar: {length} of {len(whole)} bytes"):
            Dataset.open(copy)
