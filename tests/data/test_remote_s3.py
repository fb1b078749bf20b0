"""The same from a real S3 server, moto's, on loopback."""

from __future__ import annotations

import os
import socket
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from biggan_scale.config.errors import DataError
from biggan_scale.data import transfer
from biggan_scale.data.loader import Loader
from biggan_scale.data.order import GlobalOrder
from biggan_scale.data.remote import RemoteOptions, open_remote
from support.shards import Made

server = pytest.importorskip("moto.server", reason="moto, of the dev extra, is not installed")
s3fs = pytest.importorskip("s3fs", reason="s3fs, of the extra `remote`, is not installed")


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(transfer, "FIRST_PAUSE_S", 0.01)
    s3fs.S3FileSystem.clear_instance_cache()
    urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()  # its state is global
    yield os.environ["AWS_ENDPOINT_URL"]
    running.stop()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def made(make_shards: Callable[..., Made], endpoint: str) -> Made:
    made = make_shards(num=50)
    store = s3fs.S3FileSystem()
    store.mkdir("bucket")
    for file in made.dataset.path.iterdir():
        store.pipe_file(f"bucket/some where/{file.name}", file.read_bytes())
    return made


URL = "s3://bucket/some where"


def read_all(dataset, workers: int = 0) -> list[bytes]:
    loader = Loader(dataset, GlobalOrder(dataset.shard_sizes, window=2), workers=workers, flip=False, seed=0)
    try:
        return [images.numpy().tobytes() for images, _, _ in loader.ranges((start, start + 10) for start in range(0, 100, 10))]
    finally:
        loader.close()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("range_reads_gb", [1.0, 0.0], ids=["cached", "in parts"])
def test_batches_from_s3_are_the_local_ones(made: Made, tmp_path: Path, workers: int, range_reads_gb: float) -> None:
    dataset = open_remote(URL, tmp_path / "cache", RemoteOptions(range_reads_gb=range_reads_gb))
    assert dataset.fingerprint == made.dataset.fingerprint
    assert read_all(dataset, workers) == read_all(made.dataset)
    assert bool(list((tmp_path / "cache").rglob("*.tar"))) == (range_reads_gb > 0)


def test_what_is_wrong_on_s3_is_one_line(made: Made, tmp_path: Path) -> None:
    store, options = s3fs.S3FileSystem(), RemoteOptions(tries=2, timeout_s=5)
    shard = made.dataset.shards[2]
    store.pipe_file(f"bucket/some where/{shard.name}", made.dataset.shard_path(2).read_bytes()[:5000])
    for url, message in [
        (URL, rf"^{URL}/{shard.name}: 5000 of {shard.bytes} bytes came \(tried 2 times\)"),
        ("s3://bucket/nowhere", r"^s3://bucket/nowhere/dataset\.json: not found$"),
        ("s3://nobucket/x", r"^s3://nobucket/x/dataset\.json: not found$"),
    ]:
        with pytest.raises(DataError, match=message) as caught:
            read_all(open_remote(url, tmp_path / "cache", options))
        assert "\n" not in str(caught.value)
    store.rm_file(f"bucket/some where/{shard.name}")
    with pytest.raises(DataError, match=rf"^{URL}/{shard.name}: not found$"):
        read_all(open_remote(URL, tmp_path / "other", options))


def test_a_store_that_never_answers_is_given_up(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections wait in its queue for ever
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        s3fs.S3FileSystem.clear_instance_cache()
        with pytest.raises(DataError, match=r"^s3://bucket/x/dataset\.json: no answer within 0\.5 s \(tried 2 times\)"):
            open_remote("s3://bucket/x", tmp_path, RemoteOptions(tries=2, timeout_s=0.5))
