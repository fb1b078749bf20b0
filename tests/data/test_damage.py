"""Whatever happens to shards after they were packed is one line that names the shard, before or at first touch, and in `verify`."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from biggan_scale.config.errors import DataError
from biggan_scale.data.index import INDEX_DTYPE, Dataset, index_bytes
from biggan_scale.data.reader import Reader
from biggan_scale.data.verify import verify
from support.shards import Made

SHARD, INDEX = "shard-00001.tar", "shard-00001.idx.npy"


def edit(path: Path, change: Callable[[bytearray], object]) -> None:
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)


def edit_json(directory: Path, **changes: object) -> None:
    file = directory / "dataset.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def touch_all(path: Path) -> None:
    dataset = Dataset.open(path)
    reader, out = Reader(dataset), np.empty((dataset.height, dataset.width, dataset.channels), np.uint8)
    for shard, size in enumerate(dataset.shard_sizes):
        for index in range(size):
            reader.read_pixels(shard, index, out)


DAMAGE = {
    "missing shard": (lambda path: (path / SHARD).unlink(), "shard-00001.tar: No such file"),
    "missing index": (lambda path: (path / INDEX).unlink(), "shard-00001.idx.npy: No such file"),
    "truncated at a block": (lambda path: edit(path / SHARD, lambda b: b.__delitem__(slice(10_240, None))), r"10240 of \d+ bytes"),
    "longer": (lambda path: edit(path / SHARD, lambda b: b.extend(bytes(512))), r"\d+ of \d+ bytes"),
    "flipped byte in the index": (lambda path: edit(path / INDEX, lambda b: b.__setitem__(-3, b[-3] ^ 4)), "its sha256 is not the one"),
    "flipped byte in dataset.json": (lambda path: edit_json(path, height=13), "fingerprint does not match"),
    "no dataset.json": (lambda path: (path / "dataset.json").unlink(), "make one with `biggan-data pack`"),
    "dataset.json of others": (lambda path: (path / "dataset.json").write_text('{"labels": null}'), "not a list of shards in the format"),
    "dataset.json cut": (lambda path: edit(path / "dataset.json", lambda b: b.__delitem__(slice(100, None))), "cannot be read"),
    "dataset.json without classes": (lambda path: edit_json(path, classes=None), "damaged: TypeError"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named_in_one_line(make_shards, case: str) -> None:
    damage, message = DAMAGE[case]
    path = make_shards().dataset.path
    damage(path)
    with pytest.raises(DataError, match=message) as caught:
        touch_all(path)
    assert "\n" not in str(caught.value)


def test_several_missing_shards_are_counted(make_shards) -> None:
    path = make_shards().dataset.path
    for number in (1, 3):
        (path / f"shard-0000{number}.tar").unlink()
    with pytest.raises(DataError, match=r"shard-00001\.tar: No such file or directory \(and 1 more shards\); copy again"):
        Dataset.open(path)


@pytest.mark.parametrize("encode", ["png", "raw"])
def test_no_flipped_bit_of_an_image_passes_unnoticed(make_shards, encode: str) -> None:
    """Bits of the tar's headers and labels, which training does not read, are `verify`'s to notice."""
    made = make_shards(encode=encode, num=12)
    path, rows = made.dataset.shard_path(0), made.dataset.load_index(0)
    intact = path.read_bytes()
    random = np.random.RandomState(0)
    for _ in range(100):
        index = random.randint(len(rows))
        at = int(rows["offset"][index]) + random.randint(rows["size"][index])
        path.write_bytes(intact[:at] + bytes([intact[at] ^ 1 << random.randint(8)]) + intact[at + 1 :])
        reader = Reader(made.dataset)
        with pytest.raises(DataError, match=rf"shard-00000\.tar: sample {index} \((ant|bee|cat)/.*its bytes have changed"):
            reader.read(0, index)
        reader.close()


def test_no_flipped_bit_and_no_cut_passes_verify(make_shards) -> None:
    made = make_shards(num=6)
    assert verify(made.dataset.path)[1] == []
    random = np.random.RandomState(0)
    for name in ("shard-00000.tar", "shard-00000.idx.npy"):
        path = made.dataset.path / name
        intact = path.read_bytes()
        for _ in range(60):
            at = random.randint(len(intact))
            path.write_bytes(intact[:at] + bytes([intact[at] ^ 1 << random.randint(8)]) + intact[at + 1 :])
            problems = verify(made.dataset.path)[1]
            assert problems and all("shard-00000" in problem and "\n" not in problem for problem in problems)
            path.write_bytes(intact[:at])
            assert verify(made.dataset.path)[1]
        path.write_bytes(intact)


def replace_index(made: Made, content: bytes) -> None:
    """Gives shard 0 another index, consistently with dataset.json."""
    (made.dataset.path / made.dataset.shards[0].index_name).write_bytes(content)
    shard = replace(made.dataset.shards[0], index_sha256=hashlib.sha256(content).hexdigest())
    replace(made.dataset, shards=(shard, *made.dataset.shards[1:])).save()


def npy(rows: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, rows)
    return buffer.getvalue()


NO_INDEX = {
    "one sample less": lambda rows: npy(rows[:-1]),
    "one sample more": lambda rows: npy(np.append(rows, rows[:1])),
    "another dtype": lambda rows: npy(rows.astype([(name, "<i8") for name in INDEX_DTYPE.names])),
    "other names": lambda rows: npy(rows.view([(name[::-1], INDEX_DTYPE[name]) for name in INDEX_DTYPE.names])),
    "big endian": lambda rows: npy(rows.astype(INDEX_DTYPE.newbyteorder(">"))),
    "cut": lambda rows: npy(rows)[:-1],
    "longer": lambda rows: npy(rows) + b"\0",
    "a header alone": lambda rows: npy(rows)[:128],
    "garbage": lambda rows: b"PK\3\4 garbage",
    "nothing": lambda rows: b"",
}


@pytest.mark.parametrize("case", NO_INDEX)
def test_an_index_that_is_none_is_told_though_its_sha256_is_right(make_shards, case: str) -> None:
    made = make_shards()
    rows = made.dataset.load_index(0)
    replace_index(made, npy(rows))
    touch_all(made.dataset.path)  # an index that numpy writes is one
    replace_index(made, NO_INDEX[case](rows))
    with pytest.raises(DataError, match=r"shard-00000\.idx\.npy: not an index of 12 samples; pack again") as caught:
        touch_all(made.dataset.path)
    assert "\n" not in str(caught.value)
    assert verify(made.dataset.path)[1] == [str(caught.value)]


def relabel(made: Made, label: int) -> None:
    """Gives sample 0 of shard 0 another label in the index."""
    rows = made.dataset.load_index(0).copy()
    rows["label"][0] = label
    replace_index(made, index_bytes(rows))


def test_a_label_out_of_range_is_refused(make_shards) -> None:
    made = make_shards()
    relabel(made, 99_999)
    with pytest.raises(DataError, match=r"sample 0 has label 99999; allowed are 0 to 2"):
        touch_all(made.dataset.path)


def test_a_wrong_label_is_found_by_verify(make_shards) -> None:
    made = make_shards()
    relabel(made, (int(made.dataset.load_index(0)["label"][0]) + 1) % 3)
    problems = verify(made.dataset.path)[1]
    assert len(problems) == 1
    assert re.search(r"shard-00000\.tar: sample 0 \(.*\): has label \d, its index says \d", problems[0])


def test_a_shard_name_that_leads_elsewhere_is_refused(make_shards) -> None:
    made = make_shards()
    shard = replace(made.dataset.shards[0], name="../shards/shard-00000.tar")
    replace(made.dataset, shards=(shard, *made.dataset.shards[1:])).save()
    with pytest.raises(DataError, match="is not a plain file name"):
        Dataset.open(made.dataset.path)


def test_an_image_of_another_size_is_refused_before_it_is_decoded(make_shards) -> None:
    """Also how a decompression bomb ends that was put into a shard."""
    made = make_shards()
    replace(made.dataset, height=11).save()
    with pytest.raises(DataError, match=r"sample 0 \(.*\): 12x12 RGB; wanted is 11x12 RGB; pack again without it"):
        touch_all(made.dataset.path)


def open_shards() -> int:
    return sum("/shard-" in os.path.realpath(f"/proc/self/fd/{descriptor}") for descriptor in os.listdir("/proc/self/fd"))


def test_many_shards_are_read_with_few_open_files(make_shards) -> None:
    made = make_shards(shard_samples=1, num=30)
    before = open_shards()
    reader = Reader(made.dataset, max_open=4)
    for _ in range(2):
        for shard in range(30):
            reader.read(shard, 0)
    assert open_shards() == before + 4
    reader.close()
    assert open_shards() == before
