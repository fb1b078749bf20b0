"""Tars without an index, as a stream that says of itself that it is statistical."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import webdataset.utils

from biggan_scale.config.errors import ConfigError, DataError
from biggan_scale.data import streaming, transfer
from biggan_scale.data.streaming import Stream, StreamLoader, open_stream
from biggan_scale.data.transfer import Transfer
from support import http
from support.shards import Made


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webdataset.utils, "enforce_security", False)  # streaming sets it for the whole process; put back after the test
    monkeypatch.setattr(transfer, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(streaming, "BUFFER_SAMPLES", 60)


@pytest.fixture
def made(make_shards: Callable[..., Made]) -> Made:
    return make_shards(num=50)


def open_at(place: object, num_classes: int = 3, size: int = 12) -> Stream:
    return open_stream(f"{place}/shard-{{00000..00004}}.tar", size, size, 3, num_classes, Transfer(tries=3, timeout_s=0.5))


def read(stream: Stream, num: int = 300, start: int = 0, seed: int = 0, rank: int = 0, max_bad_share: float = 0.5, flip: bool = False):
    loader = StreamLoader(stream, seed=seed, rank=rank, flip=flip, max_bad_share=max_bad_share)
    ranges = ((first, first + 10) for first in range(start, start + num, 10))
    try:
        batches = list(loader.ranges(ranges))
    finally:
        loader.close()
    pairs = [pair for images, labels, _ in batches for pair in zip(images, labels, strict=True)]
    return loader, [(image.permute(1, 2, 0).numpy(), int(label)) for image, label in pairs]


def test_images_and_labels_belong_together_and_all_of_them_come(made: Made) -> None:
    label_of = {pixels.tobytes(): made.labels[key] for key, pixels in made.pixels.items()}
    _, samples = read(open_at(made.dataset.path), num=1000)
    assert len(samples) == 1000
    assert all(label_of[image.tobytes()] == label for image, label in samples)
    assert len({image.tobytes() for image, _ in samples}) == 50


def test_the_stream_follows_from_seed_rank_and_where_it_begins(made: Made) -> None:
    stream = open_at(made.dataset.path)

    def keys(**options: int) -> list[bytes]:
        return [image.tobytes() for image, _ in read(stream, **options)[1]]

    assert keys() == keys()
    assert keys() != keys(seed=1)
    assert keys() != keys(rank=1)
    assert keys() != keys(start=100)


def test_positions_are_counted_and_flips_are_those_of_the_positions(made: Made) -> None:
    stream = open_at(made.dataset.path)
    loader = StreamLoader(stream, seed=0, rank=0, flip=True, max_bad_share=0)
    batches = list(islice(loader.ranges((start, start + 5) for start in range(40, 10**9, 5)), 3))
    loader.close()
    assert [batch.positions.tolist() for batch in batches] == [list(range(start, start + 5)) for start in (40, 45, 50)]
    plain, flipped = read(stream, start=40)[1], read(stream, start=40, flip=True)[1]
    mirrored = [not np.array_equal(a, b) for (a, _), (b, _) in zip(plain, flipped, strict=True)]
    assert 0.3 < np.mean(mirrored) < 0.7
    assert all(np.array_equal(a[:, ::-1] if turned else a, b) for turned, (a, _), (b, _) in zip(mirrored, plain, flipped, strict=True))


def test_a_flaky_server_changes_nothing(made: Made) -> None:
    local = [image.tobytes() for image, _ in read(open_at(made.dataset.path))[1]]
    with http.Server(made.dataset.path) as server:
        for shard in made.dataset.shards:
            server.fail(shard.name, http.status(500))
            server.fail(shard.name, http.cut)
        assert [image.tobytes() for image, _ in read(open_at(server.url))[1]] == local
        server.fail("*", http.login_page, 100)
        with pytest.raises(DataError, match=rf"^{server.url}/shard-0000\d\.tar: the server sends an HTML page instead of data"):
            read(open_at(server.url))


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def image_bytes(size: int = 12) -> bytes:
    data = io.BytesIO()
    np.lib.format.write_array(data, np.zeros((size, size, 3), np.uint8))
    return data.getvalue()


class Trap:
    def __reduce__(self) -> tuple:
        return (open, ("trapped", "w"))


def test_hostile_members_are_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trap = pickle.dumps(Trap())
    write_tar(
        tmp_path / "a.tar", {"x.npy": image_bytes(), "x.cls": b"1", **{f"x.{kind}": trap for kind in ("pyd", "pickle", "pkl", "pth")}}
    )
    stream = open_stream(str(tmp_path / "a.tar"), 12, 12, 3, 3, Transfer())
    assert [label for _, label in read(stream, num=20)[1]] == [1] * 20
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"x.cls": b"1"}, "x: 0 images; one is needed"),
        ({"x.npy": image_bytes(), "x.png": b"", "x.cls": b"1"}, "x: 2 images; one is needed"),
        ({"x.npy": image_bytes()}, r"x: label \(\.cls\) is ''; allowed are 0 to 2"),
        ({"x.npy": image_bytes(), "x.cls": b"3"}, r"x: label \(\.cls\) is '3'; allowed are 0 to 2"),
        ({"x.npy": image_bytes(11), "x.cls": b"1"}, r"x: not a \.npy array of uint8"),
        ({"x.png": b"GIF89a", "x.cls": b"1"}, "x: neither PNG, JPEG, WebP nor"),
        ({"x.txt": b""}, "no samples in it"),
    ],
)
def test_what_cannot_be_used_is_named_with_tar_and_key(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    write_tar(tmp_path / "a.tar", members)
    stream = open_stream(str(tmp_path / "a.tar"), 12, 12, 3, 3, Transfer())
    with pytest.raises(DataError, match=rf"a\.tar: {message}") as caught:
        read(stream, max_bad_share=0)
    assert "\n" not in str(caught.value)


def test_a_few_that_cannot_be_used_are_left_out_told_and_counted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    good = {f"{number}.{kind}": content for number in range(20) for kind, content in (("npy", image_bytes()), ("cls", b"1"))}
    write_tar(tmp_path / "a.tar", good | {"bad.npy": b"?", "bad.cls": b"1"})
    stream = open_stream(str(tmp_path / "a.tar"), 12, 12, 3, 3, Transfer())
    loader, samples = read(stream, num=100)
    assert len(samples) == 100 and loader.bad.num > 0
    assert "a.tar: bad: neither PNG, JPEG, WebP nor .npy" in capfd.readouterr().err


@pytest.mark.parametrize("length", [0, 100, 5000, -512, -10240])
def test_a_cut_tar_is_an_error(made: Made, length: int) -> None:
    for shard in made.dataset.shards:
        path = made.dataset.path / shard.name
        path.write_bytes(path.read_bytes()[: length if length >= 0 else max(shard.bytes + length, 3000)])
    if length == -512:
        assert read(open_at(made.dataset.path))[1]  # tars end in several blocks of zeros: nothing is lost
        return
    with pytest.raises(DataError, match=r"shard-0000\d\.tar: (no end of the tar|not a whole, uncompressed tar|no samples)"):
        read(open_at(made.dataset.path))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("pipe:cat x.tar", "pipe: is not read; give a path, or a URL with ://"), ("a{000..", "{")],
)
def test_urls_that_run_programs_or_mean_nothing_are_refused(pattern: str, message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message.replace("{", r"\{")):
        read(open_stream(pattern, 12, 12, 3, 3, Transfer(tries=1)))
