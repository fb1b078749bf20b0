"""Sources that other tools have written, by those tools themselves, come out pixel for pixel; hostile ones are refused in a line."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import webdataset
from PIL import Image

from biggan_scale.config.errors import ConfigError, DataError, UserError
from biggan_scale.data.index import Dataset
from biggan_scale.data.pack import PackOptions, pack
from biggan_scale.data.reader import Reader
from biggan_scale.data.sources import CifarSource, LmdbSource, ParquetSource, WebdatasetSource, open_source
from biggan_scale.data.tar import samples

PIXELS = np.random.RandomState(0).randint(0, 256, (12, 9, 7, 3)).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def packed(source: Any, out: Path, **options: Any) -> tuple[Dataset, dict[str, tuple[np.ndarray, int]]]:
    """The data set, and pixels and label of every sample by its key."""
    dataset = pack(source, out, PackOptions(encode="raw", shard_samples=5, **options), workers=options.pop("workers", 0)).dataset
    reader, found = Reader(dataset), {}
    for shard in range(len(dataset.shards)):
        for index, sample in enumerate(samples(dataset.shard_path(shard))):
            pixels = np.empty((dataset.height, dataset.width, dataset.channels), np.uint8)
            found[sample.key] = (pixels, reader.read_pixels(shard, index, pixels))
    return dataset, found


def write_lmdb(path: Path, values: dict[bytes, bytes], **options: Any) -> Path:
    with lmdb.open(str(path), map_size=2**24, **options) as environment, environment.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key, value)
    return path


@pytest.mark.parametrize("single_file", [False, True])
def test_an_lmdb_of_a_stylegan_trainer(tmp_path: Path, single_file: bool) -> None:
    values = {f"{size}-{number:05d}".encode(): png(PIXELS[number][:size, :size]) for number in range(12) for size in (4, 7)}
    source = open_source(write_lmdb(tmp_path / "images.lmdb", {**values, b"length": b"12"}, subdir=not single_file))
    assert isinstance(source, LmdbSource)
    dataset, found = packed(source, tmp_path / "out")
    assert (dataset.num_samples, dataset.height, dataset.width, dataset.num_classes) == (12, 7, 7, 0)
    for number in range(12):
        assert np.array_equal(found[f"7-{number:05d}"][0], PIXELS[number][:7, :7])


def test_an_lmdb_of_lsun_with_two_workers(tmp_path: Path) -> None:
    def webp(pixels: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "WEBP", lossless=True)
        return buffer.getvalue()

    write_lmdb(tmp_path / "bedroom_val_lmdb", {f"{number:040x}".encode(): webp(PIXELS[number]) for number in range(12)})
    dataset = pack(open_source(tmp_path / "bedroom_val_lmdb"), tmp_path / "out", PackOptions(), workers=2).dataset
    assert dataset.num_samples == 12 and dataset.width == 7


def write_parquet(path: Path, columns: dict[str, Any], features: dict[str, Any] | None = None, **options: Any) -> Path:
    table = pyarrow.table(columns)
    if features:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pyarrow.parquet.write_table(table, path, **options)
    return path


def structs(which: range) -> list[dict[str, Any]]:
    return [{"bytes": png(PIXELS[i]), "path": None} for i in which]


FEATURES = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}


def test_parquet_as_hugging_face_has_it_in_several_files(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for number, which in enumerate([range(5), range(5, 12)]):
        columns = {"image": structs(which), "label": [i % 2 for i in which], "caption": ["x" for _ in which]}
        write_parquet(tmp_path / "data" / f"train-{number:05d}-of-00002.parquet", columns, FEATURES, row_group_size=2)
    for source in (open_source(tmp_path), open_source(str(tmp_path / "data" / "train-*.parquet"))):
        assert isinstance(source, ParquetSource)
    dataset, found = packed(source, tmp_path / "out")
    assert dataset.classes == ("cat", "dog")
    for number in range(12):
        pixels, label = found[f"{number:09d}"]
        assert np.array_equal(pixels, PIXELS[number]) and label == number % 2
    assert not list((tmp_path / "out").glob(".scratch*"))


def test_parquet_of_plain_bytes_and_names(tmp_path: Path) -> None:
    columns = {"jpg": [png(p) for p in PIXELS], "label": ["dog", "cat"] * 6}
    dataset, found = packed(open_source(write_parquet(tmp_path / "x.parquet", columns)), tmp_path / "out")
    assert dataset.classes == ("cat", "dog")
    assert found["000000000"][1] == 1
    columns = {"a": [png(p) for p in PIXELS], "b": [png(p) for p in PIXELS], "y": [0, 1] * 6}
    path = write_parquet(tmp_path / "two.parquet", columns)
    with pytest.raises(ConfigError, match=r"2 columns could be the image \(a, b\); say which with --columns IMAGE,LABEL"):
        open_source(path).list()
    dataset, _ = packed(open_source(path, columns=("b", "y")), tmp_path / "out2")
    assert dataset.num_classes == 2


def write_cifar_10(folder: Path) -> tuple[np.ndarray, list[int]]:
    """Files as those of the real archive: pickles of protocol 2 with bytes for names."""
    pixels = np.random.RandomState(1).randint(0, 256, (12, 32, 32, 3)).astype(np.uint8)
    labels = [number % 10 for number in range(12)]
    rows = pixels.transpose(0, 3, 1, 2).reshape(12, -1)
    folder.mkdir()
    for part in range(6):
        name = f"data_batch_{part + 1}" if part < 5 else "test_batch"
        content = {b"data": rows[2 * part : 2 * part + 2], b"labels": labels[2 * part : 2 * part + 2], b"batch_label": b"x"}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
        (folder / f"{name}.bin").write_bytes(b"".join(bytes([labels[i]]) + rows[i].tobytes() for i in (2 * part, 2 * part + 1)))
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [name.encode() for name in names]}, protocol=2))
    (folder / "batches.meta.txt").write_text("\n".join(names) + "\n\n")
    return pixels, labels


@pytest.mark.parametrize("kind", ["python folder", "python tar.gz", "binary tar.gz"])
def test_cifar_10(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "cifar-10-batches"
    pixels, labels = write_cifar_10(folder)
    for path in folder.iterdir():
        if ("bin" in path.name or "txt" in path.name) != kind.startswith("binary"):
            path.unlink()
    if kind.endswith("gz"):
        with tarfile.open(tmp_path / "cifar-10.tar.gz", "w:gz") as tar:
            tar.add(folder, "cifar-10-batches")
    source = open_source(tmp_path / "cifar-10.tar.gz" if kind.endswith("gz") else folder)
    assert isinstance(source, CifarSource)
    dataset, found = packed(source, tmp_path / "out")
    assert dataset.classes[:2] == ("airplane", "automobile") and dataset.num_samples == 10
    for number in range(10):
        assert np.array_equal(found[f"{number:05d}"][0], pixels[number]) and found[f"{number:05d}"][1] == labels[number]
    test = open_source(source.path, subset="test")
    assert np.array_equal(test.list() and test.read("00001"), pixels[11])


def test_cifar_100_takes_the_fine_labels(tmp_path: Path) -> None:
    rows = np.random.RandomState(1).randint(0, 256, (200, 3072)).astype(np.uint8)
    content = {b"data": rows, b"fine_labels": list(range(100)) * 2, b"coarse_labels": [0] * 200}
    for name in ("train", "test"):
        (tmp_path / name).write_bytes(pickle.dumps(content, protocol=2))
    (tmp_path / "meta").write_bytes(pickle.dumps({b"fine_label_names": [f"c{i}".encode() for i in range(100)]}, protocol=2))
    listing = open_source(tmp_path).list()
    assert listing.classes[99] == "c99" and listing.samples[199].label == 99


class Hostile:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def test_a_hostile_cifar_archive_executes_nothing(tmp_path: Path) -> None:
    write_cifar_10(tmp_path / "cifar")
    content = {b"data": Hostile(tmp_path / "executed"), b"labels": []}
    (tmp_path / "cifar" / "data_batch_3").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(DataError, match=r"a pickle in it names (posix|nt)\.mkdir; CIFAR's hold arrays of bytes only, and nothing else"):
        open_source(tmp_path / "cifar").list()
    assert not (tmp_path / "executed").exists()


def write_tars(folder: Path, labelled: bool = True) -> None:
    with webdataset.ShardWriter(str(folder / "theirs-%02d.tar"), maxcount=5, verbose=0) as writer:
        for number, pixels in enumerate(PIXELS):
            extra = {"cls": number % 3} if labelled else {}
            writer.write({"__key__": f"k{number:03d}", "png": png(pixels), "json": {"x": 1}, "extra.pyd": [1], **extra})


@pytest.mark.parametrize("pattern", ["", "theirs-*.tar", "theirs-{00..02}.tar", "theirs-0{0,1,2}.tar"])
def test_foreign_webdataset_tars(tmp_path: Path, pattern: str) -> None:
    write_tars(tmp_path)
    source = open_source(str(tmp_path / pattern) if pattern else tmp_path)
    assert isinstance(source, WebdatasetSource)
    dataset, found = packed(source, tmp_path / "out")
    assert dataset.num_samples == 12 and dataset.label_histogram == (4, 4, 4)
    for number in range(12):
        pixels, label = found[f"k{number:03d}"]
        assert np.array_equal(pixels, PIXELS[number]) and label == number % 3
    assert not any(b"pyd" in shard.read_bytes() for shard in (tmp_path / "out").glob("*.tar"))


def test_our_own_shards_can_be_packed_again(tmp_path: Path, make_shards) -> None:
    made = make_shards(encode="raw", num=20)
    dataset, found = packed(open_source(made.dataset.path, "webdataset"), tmp_path / "out")
    assert dataset.num_samples == 20
    for key, (pixels, label) in found.items():
        assert np.array_equal(pixels, made.pixels[key]) and label == made.labels[key]


def test_keys_that_come_again_in_other_tars_get_their_tars_name(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with webdataset.TarWriter(str(tmp_path / f"{name}.tar")) as writer:
            writer.write({"__key__": "0", "png": png(PIXELS[0])})
    _, found = packed(open_source(tmp_path), tmp_path / "out")
    assert set(found) == {"one/0", "two/0"}


def test_labels_from_a_csv(tmp_path: Path) -> None:
    for number, pixels in enumerate(PIXELS):
        (tmp_path / f"{number:02d}.png").write_bytes(png(pixels))
    (tmp_path / "names.csv").write_text("name,label\n" + "".join(f"{i:02d}.png,{'ab'[i % 2]}\n" for i in range(12)) + "other.png,c\n")
    (tmp_path / "numbers.csv").write_text("".join(f"{i:02d},{i % 3}\n" for i in range(12)))
    dataset, found = packed(open_source(tmp_path), tmp_path / "out", labels_csv=tmp_path / "names.csv")
    assert dataset.classes == ("a", "b") and found["03"][1] == 1
    dataset, found = packed(open_source(tmp_path), tmp_path / "out2", labels_csv=tmp_path / "numbers.csv")
    assert dataset.classes == ("0", "1", "2") and found["05"][1] == 2


@pytest.mark.parametrize(
    "text, message",
    [
        ("00.png,0\n", "no label for '01.png'; every image of the source needs a line name,label"),
        ("00.png\n", "each must be name,label"),
        ("00.png,0\n00.png,1\n", "'00.png' has two labels, '0' and '1'"),
        ("00.png,0\n01.png,99999999\n", "label 99999999; allowed are whole numbers from 0 to 999999"),
        ("00.png,0\n01.png,2\n", r"1 of 3 classes have no images: 1 \(1\)"),
        ("\xff", "no label for '00.png'"),
    ],
)
def test_csv_files_that_do_not_fit_are_refused(tmp_path: Path, text: str, message: str) -> None:
    for number in range(2):
        (tmp_path / f"{number:02d}.png").write_bytes(png(PIXELS[number]))
    (tmp_path / "labels.csv").write_text(text if text != "\xff" else "x,1\n")
    with pytest.raises(DataError, match=message) as caught:
        pack(open_source(tmp_path), tmp_path / "out", PackOptions(labels_csv=tmp_path / "labels.csv"), workers=0)
    assert "\n" not in str(caught.value)


def tar_of(path: Path, *members: tuple[str, bytes, dict[str, Any]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content, fields in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in fields.items():
                setattr(info, field, value)
            tar.addfile(info, io.BytesIO(content))
    return path


IMAGE = png(PIXELS[0])


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda p: write_lmdb(p / "x", {b"1": pickle.dumps(Hostile(p / "executed"))}),
            "holds no image file but b'.*'...; values must be PNG",
        ),
        (lambda p: write_lmdb(p / "x", {b"../1": IMAGE}), "unsafe key '../1'"),
        (lambda p: write_lmdb(p / "x", {b"length": b"0"}), "no images in this LMDB"),
        (lambda p: write_parquet(p / "x.parquet", {"text": ["a"]}), "no column of images; say which with --columns"),
        (
            lambda p: write_parquet(p / "x.parquet", {"image": structs(range(2)), "label": [0, 5]}, FEATURES),
            "row 1 has label 5 in column 'label'",
        ),
        (lambda p: (p / "x.parquet").write_bytes(b"PAR1 and nothing more") and p / "x.parquet", "not a Parquet file that can be read"),
        (
            lambda p: tar_of(p / "x.tar", ("../../a.png", IMAGE, {})),
            r"unsafe name '\.\./\.\./a\.png'; names must be relative and stay inside",
        ),
        (lambda p: tar_of(p / "x.tar", ("/etc/a.png", IMAGE, {})), "unsafe name '/etc/a.png'"),
        (
            lambda p: tar_of(p / "x.tar", ("a.png", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})),
            "member 'a.png' is a symbolic link to '/etc/passwd'; only plain files are read",
        ),
        (lambda p: tar_of(p / "x.tar", ("a.png", IMAGE, {}), ("a.jpg", IMAGE, {})), r"sample 'a' has 2 images \(png, jpg\); one is needed"),
        (lambda p: tar_of(p / "x.tar", ("a.png", IMAGE, {}), ("a.png", IMAGE, {})), r"x\.tar: member 'a\.png' comes twice"),
        (
            lambda p: tar_of(p / "x.tar", ("a.png", IMAGE, {}), ("a.cls", b"cat", {})),
            "sample 'a' has label b'cat'; allowed are whole numbers",
        ),
        (
            lambda p: tar_of(p / "x.tar", ("a.png", IMAGE, {}), ("a.cls", b"0", {}), ("b.png", IMAGE, {})),
            "1 samples have no .cls, 'b' among them",
        ),
        (lambda p: tar_of(p / "x.tar", ("a.txt", b"x", {})), "no images in 1 tars"),
        (lambda p: (p / "x").write_bytes(b"hello world") and p / "x", "begins with b'hello wo'"),
        (lambda p: str(p / "x-{00..03}.tar"), r"no such source \(.*x-00.tar is missing\)"),
        (lambda p: str(p / "*.tar"), "no such source"),
    ],
)
def test_sources_that_cannot_be_packed_are_refused_in_one_line(tmp_path: Path, make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        pack(open_source(make(tmp_path)), tmp_path / "out", PackOptions(), workers=0)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists() and not (tmp_path / "out" / "dataset.json").exists()


@pytest.mark.parametrize("kind", ["parquet", "cifar", "webdataset", "lmdb", "csv"])
def test_workers_read_every_source_to_the_same_bytes(tmp_path: Path, kind: str) -> None:
    (tmp_path / "in").mkdir()
    options = PackOptions(encode="raw", shard_samples=5)
    if kind == "parquet":
        write_parquet(tmp_path / "in" / "x.parquet", {"image": structs(range(12)), "label": [i % 2 for i in range(12)]}, FEATURES)
    elif kind == "cifar":
        write_cifar_10(tmp_path / "in" / "cifar")
        (tmp_path / "in" / "cifar").rename(tmp_path / "cifar")
        (tmp_path / "in").rmdir()
        (tmp_path / "cifar").rename(tmp_path / "in")
    elif kind == "webdataset":
        write_tars(tmp_path / "in")
    elif kind == "lmdb":
        write_lmdb(tmp_path / "in", {f"{i:03d}".encode(): png(pixels) for i, pixels in enumerate(PIXELS)})
    else:
        for number, pixels in enumerate(PIXELS):
            (tmp_path / "in" / f"{number}.png").write_bytes(png(pixels))
        (tmp_path / "labels.csv").write_text("".join(f"{i},{i % 2}\n" for i in range(12)))
        options = PackOptions(encode="raw", shard_samples=5, labels_csv=tmp_path / "labels.csv")
    for workers in (0, 2):
        pack(open_source(tmp_path / "in"), tmp_path / f"out{workers}", options, workers=workers)
    alone, together = ({path.name: path.read_bytes() for path in (tmp_path / f"out{workers}").iterdir()} for workers in (0, 2))
    assert alone == together and len(alone) >= 5
