"""Others read our shards, and we read theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import webdataset

from biggan_scale.config.errors import DataError
from biggan_scale.data.foreign import index_tars
from biggan_scale.data.index import Dataset
from biggan_scale.data.reader import Reader
from support.shards import make_folder


def urls(dataset: Dataset) -> list[str]:
    return [str(dataset.shard_path(shard)) for shard in range(len(dataset.shards))]


@pytest.mark.parametrize("encode, extension", [("png", "png"), ("webp", "webp"), ("raw", "npy")])
def test_stock_webdataset_reads_all_samples_keys_labels_and_pixels(make_shards, encode: str, extension: str) -> None:
    made = make_shards(encode=encode)
    found = {}
    for sample in webdataset.WebDataset(urls(made.dataset), shardshuffle=False).decode("rgb8"):
        assert sample["__key__"] not in found
        found[sample["__key__"]] = sample
    assert found.keys() == made.pixels.keys()
    for key, sample in found.items():
        assert sample["cls"] == made.labels[key]
        if extension != "webp":  # stock webdataset has no decoder for it, and hands out the bytes
            assert np.array_equal(sample[extension], made.pixels[key])


def test_tars_written_by_webdataset_are_indexed_and_read(tmp_path: Path) -> None:
    pixels, labels = make_folder(tmp_path / "images", num=30)
    with webdataset.ShardWriter(str(tmp_path / "theirs-%03d.tar"), maxcount=8, verbose=0) as writer:
        for number, (key, image) in enumerate(pixels.items()):
            sample = {"__key__": f"{number:04d}", "png": (tmp_path / "images" / f"{key}.png").read_bytes(), "cls": labels[key]}
            writer.write({**sample, "json": {"note": "ignored"}})
            assert image.shape == (12, 12, 3)
    index_tars(tmp_path)
    dataset = Dataset.open(tmp_path)
    assert dataset.shard_sizes.tolist() == [8, 8, 8, 6]
    assert dataset.label_histogram == (10, 10, 10)
    reader, out = Reader(dataset), np.empty((12, 12, 3), np.uint8)
    for number, key in enumerate(pixels):
        assert reader.read_pixels(*divmod(number, 8), out) == labels[key]
        assert np.array_equal(out, pixels[key])


def write_tar(path: Path, samples: list[dict[str, object]]) -> None:
    with webdataset.TarWriter(str(path)) as writer:
        for sample in samples:
            writer.write(sample)


@pytest.mark.parametrize(
    "samples, message",
    [
        ([{"__key__": "a", "cls": b"0"}], "sample 'a' has 0 images"),
        ([{"__key__": "a", "png": b"x", "jpg": b"y", "cls": b"0"}], "sample 'a' has 2 images"),
        ([{"__key__": "a", "png": "PNG", "cls": b"-3"}], "label b'-3'; allowed are whole numbers from 0"),
        ([{"__key__": "a", "png": "PNG", "cls": b"cat"}], "label b'cat'"),
        ([{"__key__": "a", "png": "PNG", "cls": b"0"}, {"__key__": "b", "png": "PNG"}], "1 have none; all must, or none"),
        ([{"__key__": k, "png": "PNG", "cls": b"0"} for k in "aba"], "key 'a' comes twice"),
        ([{"__key__": "a", "png": b"<html>", "cls": b"0"}], "sample 'a': neither PNG"),
        ([{"__key__": "a", "png": "PNG", "cls": b"2"}], r"2 of 3 classes have no images: 0 \(0\), 1 \(1\)"),
    ],
)
def test_tars_that_make_no_data_set_are_refused_in_one_line(tmp_path: Path, samples: list[dict[str, object]], message: str) -> None:
    make_folder(tmp_path / "images", num=1)
    png = next((tmp_path / "images").rglob("*.png")).read_bytes()
    for sample in samples:
        sample.update({name: png for name, value in sample.items() if value == "PNG"})
    write_tar(tmp_path / "bad.tar", samples)
    with pytest.raises(DataError, match=message) as caught:
        index_tars(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "dataset.json").exists()


def test_a_key_in_two_tars_is_refused_with_both_places(tmp_path: Path) -> None:
    make_folder(tmp_path / "images", num=1)
    png = next((tmp_path / "images").rglob("*.png")).read_bytes()
    for name in ("one.tar", "two.tar"):
        write_tar(tmp_path / name, [{"__key__": "same", "png": png}])
    with pytest.raises(DataError, match=r"two\.tar: key 'same' is in one\.tar already"):
        index_tars(tmp_path)


def test_a_cut_tar_is_refused_wherever_it_is_cut(tmp_path: Path, make_shards) -> None:
    whole = make_shards(num=5).dataset.shard_path(0).read_bytes()
    for size in range(512, len(whole) - 512, 512):
        (tmp_path / "cut.tar").write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"cut\.tar: "):
            index_tars(tmp_path)
