"""Batches in the global order: the same bits with any number of workers, and one line when a worker or a sample goes wrong."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from biggan_scale.config.errors import DataError
from biggan_scale.data.index import Dataset
from biggan_scale.data.loader import LoadedBatch, Loader
from biggan_scale.data.order import GlobalOrder
from biggan_scale.data.reader import Reader


def loader_of(dataset: Dataset, workers: int = 0, flip: bool = False, seed: int = 0) -> Loader:
    return Loader(dataset, GlobalOrder(dataset.shard_sizes, seed=3, window=2), workers=workers, flip=flip, seed=seed)


def steps(size: int, stop: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, stop)) for start in range(0, stop, size)]


def bits(loader: Loader, size: int, stop: int) -> list[bytes]:
    return [sample for batch in loader.ranges(steps(size, stop)) for sample in bits_of(batch)]


def bits_of(batch: LoadedBatch) -> list[bytes]:
    images, labels, positions = batch
    assert images.dtype == torch.uint8 and labels is not None
    assert images.shape[1:] == (3, 12, 12) and len(images) == len(labels) == len(positions)
    return [
        image.numpy().tobytes() + bytes([int(label)]) + int(p).to_bytes(8, "little")
        for image, label, p in zip(images, labels, positions, strict=True)
    ]


@pytest.mark.parametrize("encode", ["png", "raw"])
def test_workers_and_batch_sizes_change_no_bit(make_shards, encode: str) -> None:
    dataset = make_shards(encode=encode).dataset
    expected = bits(loader_of(dataset, workers=0, flip=True), size=7, stop=120)
    for workers, size in ((1, 7), (3, 7), (3, 5), (0, 120)):
        assert bits(loader_of(dataset, workers=workers, flip=True), size=size, stop=120) == expected


def test_batches_are_the_images_labels_and_positions_of_the_order(make_shards) -> None:
    made = make_shards()
    order, reader = GlobalOrder(made.dataset.shard_sizes, seed=3, window=2), Reader(made.dataset)
    [(images, labels, positions)] = loader_of(made.dataset).ranges([(40, 70)])
    assert positions.tolist() == list(range(40, 70))
    for image, label, (shard, index) in zip(images, labels, order.positions(40, 70).tolist(), strict=True):
        out = np.empty((12, 12, 3), np.uint8)
        assert reader.read_pixels(shard, index, out) == label
        assert np.array_equal(image.permute(1, 2, 0).numpy(), out)


@pytest.mark.parametrize("world, workers", [(1, 0), (2, 1), (5, 3)])
def test_each_sample_comes_once_an_epoch_whatever_ranks_and_workers(make_shards, world: int, workers: int) -> None:
    dataset = make_shards(num=50).dataset
    seen: list[bytes] = []
    for rank in range(world):
        loader = loader_of(dataset, workers)
        ranges = [(start + rank * 10 // world, start + (rank + 1) * 10 // world) for start in range(0, 100, 10)]
        seen += [image.numpy().tobytes() for images, _, _ in loader.ranges(ranges) for image in images]
    assert len(set(seen)) == 50 and all(seen.count(image) == 2 for image in set(seen))


def test_flips_depend_on_seed_and_position_alone(make_shards) -> None:
    dataset = make_shards(num=50).dataset
    plain = torch.cat([images for images, _, _ in loader_of(dataset).ranges(steps(10, 2000))])
    flipped = torch.cat([images for images, _, _ in loader_of(dataset, flip=True).ranges(steps(10, 2000))])
    mirrored = (flipped != plain).flatten(1).any(1)
    assert torch.equal(flipped[mirrored], plain[mirrored].flip(-1))
    assert abs(mirrored.double().mean() - 0.5) < 5 * 0.5 / 2000**0.5
    [(again, _, _)] = loader_of(dataset, flip=True).ranges([(500, 600)])
    assert torch.equal(again, flipped[500:600])
    [(other, _, _)] = loader_of(dataset, flip=True, seed=1).ranges([(500, 600)])
    assert not torch.equal(other, again)


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_lie_where_libjpeg_writes_through_the_caches(make_shards, workers: int) -> None:
    loader = loader_of(make_shards().dataset, workers)
    assert [batch.images.data_ptr() % 32 for batch in loader.ranges(steps(9, 50))] == [16] * 6


@pytest.mark.parametrize("encode", ["png", "raw"])
def test_reading_needs_no_parser(make_shards, monkeypatch: pytest.MonkeyPatch, encode: str) -> None:
    """In CPython 3.11 `ast` fails where a garbage collection that parses falls into it: a data worker died of it once."""
    dataset = make_shards(encode=encode).dataset
    with monkeypatch.context() as patch:
        patch.setattr(ast, "parse", None)
        assert len(bits(loader_of(dataset), 10, 50)) == 50


def test_data_without_classes_has_no_labels(make_shards) -> None:
    [(_, labels, _)] = loader_of(make_shards(use_labels=False).dataset).ranges([(0, 5)])
    assert labels is None


def test_an_endless_stream_is_read_no_further_ahead_than_the_workers_need(make_shards) -> None:
    asked = []

    def endless() -> object:
        for start in count(step=5):
            asked.append(start)
            yield start, start + 5

    loader = loader_of(make_shards().dataset, workers=2)
    batches = loader.ranges(endless())
    for _ in range(20):
        next(batches)
    loader.close()
    assert len(asked) <= 20 + 2 * 2 + 1


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_bad_sample_is_named_by_shard_and_key(make_shards, workers: int) -> None:
    dataset = make_shards().dataset
    path = dataset.shard_path(1)
    row = dataset.load_index(1)[4]
    content = bytearray(path.read_bytes())
    content[row["offset"] + 60] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"shard-00001\.tar: sample 4 \((ant|bee|cat)/image \d+ é\.png\): its bytes have changed") as caught:
        list(loader_of(dataset, workers).ranges(steps(10, 50)))
    assert "\n" not in str(caught.value)


def worker_pids() -> list[int]:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in children if "python" in Path(f"/proc/{pid}/cmdline").read_text()]


def test_a_killed_worker_is_told_and_started_again_and_no_bit_changes(make_shards, capfd: pytest.CaptureFixture[str]) -> None:
    dataset = make_shards().dataset
    expected = bits(loader_of(dataset, flip=True), size=5, stop=120)
    loader = loader_of(dataset, workers=2, flip=True)
    before, found = set(worker_pids()), []
    for batch in loader.ranges(steps(5, 120)):
        if len(found) % 25 == 10:  # several times: a life with answers in it is a new one
            victim = (set(worker_pids()) - before).pop()
            os.kill(victim, signal.SIGKILL)
        found += bits_of(batch)
    assert found == expected
    told = [line for line in capfd.readouterr().err.splitlines() if "was killed by SIGKILL" in line]
    assert len(told) >= 2 and all(line.endswith("; started again") for line in told)


def test_a_sample_that_kills_its_worker_twice_is_named(make_shards, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_shards().dataset
    shard, index = loader_of(dataset).order.positions(33, 34)[0].tolist()
    read = Reader.read_pixels

    def deadly(reader: Reader, *place: Any, **options: Any) -> int:
        if place[:2] == (shard, index):
            os.kill(os.getpid(), signal.SIGKILL)
        return read(reader, *place, **options)

    monkeypatch.setattr(Reader, "read_pixels", deadly)
    loader, seen = loader_of(dataset, workers=2), 0
    with pytest.raises(DataError, match=r"data worker \d \(pid \d+\) was killed by SIGKILL at .*; memory may have run out") as caught:
        for batch in loader.ranges(steps(5, 120)):
            seen += len(batch.images)
    assert seen == 30  # every batch before that of position 33
    assert f"shard-{shard:05}.tar: sample {index} (" in str(caught.value)
    assert "\n" not in str(caught.value)
    loader.close()


ENDLESS = """
import sys, time
from itertools import count
from biggan_scale.data.index import Dataset
from biggan_scale.data.loader import LoadedBatch, Loader
from biggan_scale.data.order import GlobalOrder
dataset = Dataset.open(sys.argv[1])
loader = Loader(dataset, GlobalOrder(dataset.shard_sizes), workers=2, flip=False, seed=0)
for number, batch in enumerate(loader.ranges((start, start + 5) for start in count(step=5))):
    if number == 3:
        print("running", flush=True)
    time.sleep(0.01)
"""


@pytest.fixture
def running(make_shards) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", ENDLESS, str(make_shards().dataset.path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "running\n"
    yield process
    process.kill()
    process.wait()


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_workers_die_with_their_parent(running: subprocess.Popen) -> None:
    workers = children_of(running.pid)
    assert len(workers) == 2
    running.kill()
    running.wait()
    deadline = time.monotonic() + 20
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(is_alive, workers))


def test_workers_ignore_the_signals_of_a_preemption(running: subprocess.Popen) -> None:
    workers = children_of(running.pid)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        for worker in workers:
            os.kill(worker, number)
    time.sleep(0.5)
    assert all(map(is_alive, workers)) and is_alive(running.pid)
