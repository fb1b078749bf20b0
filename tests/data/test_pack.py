"""Packing: the pixels that went in come out, shuffled once, and the same bytes whatever the number of workers."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from biggan_scale.config.errors import ConfigError, DataError, EnvironmentFault
from biggan_scale.data.index import Dataset
from biggan_scale.data.pack import PackOptions, pack, unique_keys
from biggan_scale.data.reader import Reader
from biggan_scale.data.sources import FolderSource, IdxSource, Sample, ZipSource, open_source
from biggan_scale.data.tar import samples
from support.shards import CLASSES, make_folder


def stored(dataset: Dataset) -> dict[str, tuple[np.ndarray, int]]:
    """Pixels and label of every sample, by the key in the tar."""
    reader, found = Reader(dataset), {}
    for shard, size in enumerate(dataset.shard_sizes):
        keys = [sample.key for sample in samples(dataset.shard_path(shard))]
        assert len(keys) == size
        for index, key in enumerate(keys):
            out = np.empty((dataset.height, dataset.width, dataset.channels), np.uint8)
            found[key] = (out, reader.read_pixels(shard, index, out))
    return found


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.mark.parametrize("encode", ["png", "webp", "raw", "keep"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_comes_out_pixel_for_pixel(make_shards, encode: str, channels: int) -> None:
    made = make_shards(encode=encode, channels=channels)
    found = stored(made.dataset)
    assert made.dataset.channels == channels
    assert made.dataset.classes == CLASSES
    assert {key: label for key, (_, label) in found.items()} == made.labels
    for key, (pixels, _) in found.items():
        assert np.array_equal(pixels, made.pixels[key]), key


def test_jpeg_comes_out_nearly(make_shards) -> None:
    """Random noise is the worst case of JPEG; without chroma subsampling quality 95 stays within a few grey levels."""
    made = make_shards(encode="jpeg")
    for key, (pixels, _) in stored(made.dataset).items():
        assert np.abs(pixels.astype(int) - made.pixels[key]).mean() < 6


@pytest.mark.parametrize("encode", ["png", "jpeg", "raw"])
def test_the_number_of_workers_changes_no_byte(tmp_path: Path, encode: str) -> None:
    make_folder(tmp_path / "images", num=150)
    options = PackOptions(resolution=(8, 8), encode=encode, shard_samples=40)
    for workers in (0, 1, 3):
        pack(FolderSource(tmp_path / "images"), tmp_path / f"out{workers}", options, workers)
    assert files(tmp_path / "out0") == files(tmp_path / "out1") == files(tmp_path / "out3")


def test_samples_are_shuffled_by_the_seed(make_shards) -> None:
    orders = [[sample.key for sample in samples(make_shards(seed=seed, shard_samples=100).dataset.shard_path(0))] for seed in (0, 0, 1)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2] and sorted(orders[0]) == sorted(orders[2])
    assert orders[0] != sorted(orders[0])


def test_shards_stay_within_their_limits(make_shards) -> None:
    dataset = make_shards(shard_samples=12).dataset
    assert dataset.shard_sizes.tolist() == [12, 12, 12, 12, 2]
    dataset = make_shards(shard_bytes=10_240).dataset
    assert all(shard.bytes <= 10_240 for shard in dataset.shards)
    assert dataset.num_samples == 50 and len(dataset.shards) > 5


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    make_folder(tmp_path, num=9)
    dataset = pack(FolderSource(tmp_path / "ant"), tmp_path / "out", PackOptions(), workers=0).dataset
    assert dataset.num_classes == 0
    assert {label for _, label in stored(dataset).values()} == {-1}


def test_labels_can_be_left_behind(make_shards) -> None:
    assert make_shards(use_labels=False).dataset.num_classes == 0


@pytest.mark.parametrize("names", [None, ["first", "second", "third"]])
def test_a_zip_with_stylegan_labels(tmp_path: Path, names: list[str] | None) -> None:
    pixels, labels = make_folder(tmp_path / "images", num=12)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for number, key in enumerate(pixels):
            archive.write(tmp_path / "images" / f"{key}.png", f"00000/img{number:08d}.png")
        pairs = [[f"00000/img{number:08d}.png", label] for number, label in enumerate(labels.values())]
        archive.writestr("dataset.json", json.dumps({"labels": pairs}))
        if names:
            archive.writestr("classes.json", json.dumps(names))
    dataset = pack(open_source(tmp_path / "images.zip"), tmp_path / "out", PackOptions(), workers=0).dataset
    assert dataset.classes == tuple(names or "012")
    found = stored(dataset)
    for number, key in enumerate(pixels):
        out, label = found[f"00000/img{number:08d}"]
        assert label == labels[key]
        assert np.array_equal(out, pixels[key])


def test_a_zip_whose_labels_are_null_has_none(tmp_path: Path) -> None:
    make_folder(tmp_path / "images", num=3)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for number, file in enumerate((tmp_path / "images").rglob("*.png")):
            archive.write(file, f"00000/{number}.png")
        archive.writestr("dataset.json", '{"labels": null}')
    assert pack(ZipSource(tmp_path / "images.zip"), tmp_path / "out", PackOptions(), workers=0).dataset.num_classes == 0


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_an_idx_file_with_labels_beside_it(tmp_path: Path, suffix: str) -> None:
    images = np.random.RandomState(0).randint(0, 256, (20, 6, 5)).astype(np.uint8)
    labels = np.arange(20, dtype=np.uint8) % 4
    opened = gzip.open if suffix else open
    with opened(tmp_path / f"train-images-idx3-ubyte{suffix}", "wb") as file:
        file.write(bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in images.shape) + images.tobytes())
    with opened(tmp_path / f"train-labels-idx1-ubyte{suffix}", "wb") as file:
        file.write(bytes([0, 0, 8, 1]) + (20).to_bytes(4, "big") + labels.tobytes())
    source = open_source(tmp_path / f"train-images-idx3-ubyte{suffix}")
    assert isinstance(source, IdxSource)
    dataset = pack(source, tmp_path / "out", PackOptions(encode="raw"), workers=1).dataset
    assert (dataset.height, dataset.width, dataset.channels, dataset.classes) == (6, 5, 1, ("0", "1", "2", "3"))
    for key, (pixels, label) in stored(dataset).items():
        assert np.array_equal(pixels[:, :, 0], images[int(key)])
        assert label == labels[int(key)]


def test_resizing_is_the_crop_and_filter_of_pil(make_shards) -> None:
    made = make_shards(num=6, resolution=(4, 8))
    for key, (pixels, _) in stored(made.dataset).items():
        source = Image.fromarray(made.pixels[key]).crop((0, 3, 12, 9))
        assert np.array_equal(pixels, np.asarray(source.resize((8, 4), Image.Resampling.LANCZOS)))


def test_enlarging_is_counted(tmp_path: Path) -> None:
    make_folder(tmp_path / "images", num=5)
    packed = pack(FolderSource(tmp_path / "images"), tmp_path / "out", PackOptions(resolution=(12, 13)), workers=0)
    assert packed.num_upscaled == 5


def test_a_directory_in_use_is_refused(make_shards) -> None:
    made = make_shards()
    before = files(made.dataset.path)
    with pytest.raises(ConfigError, match="already holds a data set; give --out a new or empty directory"):
        pack(FolderSource(made.folder), made.dataset.path, PackOptions(), workers=0)
    assert files(made.dataset.path) == before


def test_a_full_disk_is_told_and_nothing_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "images", num=5)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(EnvironmentFault, match="No space left on device; nothing has been published"):
        pack(FolderSource(tmp_path / "images"), tmp_path / "out", PackOptions(), workers=0)
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_keys_stay_unique_and_readable_by_webdataset() -> None:
    names = ["a/x.png", "a/x.jpg", "b.c/y.z.png", "plain.webp"]
    assert unique_keys([Sample(name, 0) for name in names]) == ["a/x_png", "a/x_jpg", "b.c/y_z", "plain"]
    with pytest.raises(DataError, match=r"'x_y\.jpg' and 'x_y_jpg\.png' would have the same key 'x_y_jpg'; rename one"):
        unique_keys([Sample(name, 0) for name in ("x_y.jpg", "x_y.png", "x_y_jpg.png")])
