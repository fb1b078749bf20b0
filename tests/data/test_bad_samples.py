"""What cannot be used is replaced by a neighbour, told and counted; too much of it, or a whole shard, is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from biggan_scale.config.errors import DataError
from biggan_scale.data.bad_samples import ALLOWANCE, MOST_TOLD, BadSamples
from biggan_scale.data.index import Dataset
from biggan_scale.data.loader import Loader
from biggan_scale.data.order import GlobalOrder
from biggan_scale.data.reader import Reader
from support.shards import Made


def damage(dataset: Dataset, shard: int, samples: Iterable[int]) -> None:
    path = dataset.shard_path(shard)
    content = bytearray(path.read_bytes())
    for sample in samples:
        content[dataset.load_index(shard)[sample]["offset"] + 60] ^= 1
    path.write_bytes(content)


def batches(dataset: Dataset, workers: int = 0, size: int = 10, stop: int = 100, max_bad_share: float = 0.001) -> tuple[Loader, list]:
    order = GlobalOrder(dataset.shard_sizes, seed=3, window=2)
    loader = Loader(dataset, order, workers=workers, flip=False, seed=0, max_bad_share=max_bad_share)
    ranges = [(start, min(start + size, stop)) for start in range(0, stop, size)]
    try:
        return loader, [(images.numpy().copy(), labels.numpy().copy()) for images, labels, _ in loader.ranges(ranges)]
    finally:
        loader.close()


def test_a_bad_sample_is_replaced_by_the_next_good_one_alike_for_all_workers(
    make_shards: Callable[..., Made], capfd: pytest.CaptureFixture[str]
) -> None:
    dataset = make_shards(num=50).dataset
    last = dataset.shards[1].num_samples - 1
    damage(dataset, 1, [4, 5, last])
    loader, expected = batches(dataset)
    assert loader.bad.num == 6 and loader.bad.num_seen == 100  # three samples in two epochs
    told = capfd.readouterr().err
    assert "shard-00001.tar: sample 4 (" in told and "have changed" in told and "(sample 6 was taken instead)" in told
    assert f"sample {last} (" in told and "(sample 0 was taken instead)" in told
    images = np.concatenate([images for images, _ in expected])
    labels = np.concatenate([labels for _, labels in expected])
    reader, stands_for = Reader(dataset), {4: 6, 5: 6, last: 0}
    for position, (shard, index) in enumerate(GlobalOrder(dataset.shard_sizes, seed=3, window=2).positions(0, 100).tolist()):
        out = np.empty((12, 12, 3), np.uint8)
        label = reader.read_pixels(shard, stands_for.get(index, index) if shard == 1 else index, out)
        assert label == labels[position] and np.array_equal(images[position].transpose(1, 2, 0), out)
    for workers, size in ((1, 7), (3, 11)):
        again = np.concatenate([images for images, _ in batches(dataset, workers, size)[1]])
        assert np.array_equal(again, images)


def test_an_image_that_does_not_decode_is_replaced_too(make_shards: Callable[..., Made], monkeypatch: pytest.MonkeyPatch) -> None:
    from biggan_scale.data import reader

    whole = reader.decode
    dataset = make_shards(num=50).dataset
    bad, _ = Reader(dataset).read(2, 3)

    def decode(data: bytes, out: np.ndarray) -> None:
        if data == bad:
            raise ValueError("png does not decode: broken")
        whole(data, out)

    monkeypatch.setattr(reader, "decode", decode)
    assert batches(dataset)[0].bad.num == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_a_shard_of_bad_samples_is_an_error(make_shards: Callable[..., Made], workers: int) -> None:
    dataset = make_shards(num=50).dataset
    damage(dataset, 1, range(dataset.shards[1].num_samples))
    with pytest.raises(DataError, match=r"shard-00001\.tar: sample \d+ \(.*; nor is any of the 11 samples after it good"):
        batches(dataset, workers)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("what", ["missing", "truncated", "index missing"])
def test_a_shard_that_vanishes_after_the_start_is_an_error_at_once(make_shards: Callable[..., Made], workers: int, what: str) -> None:
    dataset = make_shards(num=50).dataset
    path: Path = dataset.shard_path(2)
    if what == "missing":
        path.unlink()
    elif what == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    else:
        (dataset.path / dataset.shards[2].index_name).unlink()
    with pytest.raises(DataError, match=r"shard-00002\.(tar|idx\.npy): (No such file|5000 of \d+ bytes)") as caught:
        batches(dataset, workers, max_bad_share=0.5)
    assert "\n" not in str(caught.value)


def test_past_a_share_bad_samples_are_an_error() -> None:
    bad = BadSamples(max_share=0.001)
    bad.count(1_000_000, ["x"] * (ALLOWANCE + 1000))
    with pytest.raises(
        DataError, match=r"1011 of the 1000000 samples since the start were bad, data\.max_bad_share 0\.001 allows 1010; the"
    ):
        bad.count(0, ["x"])


def test_a_few_bad_samples_at_the_start_are_not_a_share() -> None:
    bad = BadSamples(max_share=0.001)
    bad.count(16, ["x"] * ALLOWANCE)
    with pytest.raises(DataError, match=r"11 of the 32 samples"):
        bad.count(16, ["x"])


def test_a_share_of_nothing_stops_at_the_first() -> None:
    with pytest.raises(DataError, match=r"^a\.tar: sample 3: broken; data\.max_bad_share is 0$"):
        BadSamples(max_share=0).count(10**9, ["a.tar: sample 3: broken (sample 4 was taken instead)"])


def test_many_bad_samples_are_not_many_lines(capfd: pytest.CaptureFixture[str]) -> None:
    bad = BadSamples(max_share=0.5)
    bad.count(1000, ["x"] * 100)
    assert len(capfd.readouterr().err.splitlines()) == MOST_TOLD
    assert bad.num == 100


def test_what_others_tell_is_counted_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    bad = BadSamples(max_share=0.5, told=False)
    bad.count(100, ["a.tar: sample 3: broken (sample 4 was taken instead)"])
    assert (bad.num, bad.num_seen, capsys.readouterr().err) == (1, 100, "")
