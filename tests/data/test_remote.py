"""Data behind URLs: a real HTTP server that misbehaves, and a cache that shows nothing unfinished, unchecked or unbounded."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from biggan_scale.config.errors import ConfigError, DataError, EnvironmentFault
from biggan_scale.data import transfer
from biggan_scale.data.loader import Loader
from biggan_scale.data.order import GlobalOrder
from biggan_scale.data.reader import Reader
from biggan_scale.data.remote import GB, RemoteDataset, RemoteOptions, open_remote, refuse_small_cache
from support import http
from support.shards import Made

SHARD = "shard-00001.tar"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "FIRST_PAUSE_S", 0.01)


@pytest.fixture
def made(make_shards: Callable[..., Made]) -> Made:
    return make_shards(num=50)


@pytest.fixture
def server(made: Made) -> Iterator[http.Server]:
    with http.Server(made.dataset.path) as server:
        yield server


def remote(server: http.Server, place: Path, **options: float) -> RemoteDataset:
    return open_remote(server.url, place / "cache", RemoteOptions(**{"tries": 3, "timeout_s": 0.5, **options}))


def read_all(dataset: RemoteDataset, workers: int = 0) -> list[bytes]:
    loader = Loader(dataset, GlobalOrder(dataset.shard_sizes, window=2), workers=workers, flip=False, seed=0)
    try:
        return [images.numpy().tobytes() for images, _, _ in loader.ranges((start, start + 10) for start in range(0, 100, 10))]
    finally:
        loader.close()


def read_shard(dataset: RemoteDataset, number: int = 1) -> list[bytes]:
    reader = Reader(dataset)
    try:
        return [reader.read(number, index)[0] for index in range(dataset.shards[number].num_samples)]
    finally:
        reader.close()


def finished_files(place: Path) -> list[str]:
    return sorted(path.name for path in (place / "cache").rglob("*") if path.suffix in (".tar", ".npy"))


@pytest.mark.parametrize("workers", [0, 2])
def test_remote_batches_are_the_local_ones_and_each_file_comes_once(made: Made, server: http.Server, tmp_path: Path, workers: int) -> None:
    dataset = remote(server, tmp_path)
    assert dataset.fingerprint == made.dataset.fingerprint
    assert read_all(dataset, workers) == read_all(made.dataset, 0)
    assert read_all(remote(server, tmp_path), workers) == read_all(made.dataset, 0)
    assert server.requests.pop("dataset.json") == 2
    assert set(server.requests.values()) == {1} and len(server.requests) == 2 * len(dataset.shards)


def test_any_scheme_of_fsspec_will_do(made: Made, tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    for file in made.dataset.path.iterdir():
        store.pipe_file(f"/store/{file.name}", file.read_bytes())
    dataset = open_remote("memory://store", tmp_path, RemoteOptions())
    assert read_all(dataset, workers=1) == read_all(made.dataset)
    store.rm_file(f"/store/{SHARD}")
    with pytest.raises(DataError, match=rf"^memory://store/{SHARD}: not found$"):
        read_shard(open_remote("memory://store", tmp_path / "new", RemoteOptions()))
    with pytest.raises(DataError, match=r"^nosuch://x/dataset\.json: .*nosuch"):
        open_remote("nosuch://x", tmp_path, RemoteOptions())


PASSING = {
    "500 twice": (http.status(500), 2),
    "503": (http.status(503), 1),
    "stall": (http.stall, 1),
    "trickle": (http.trickle, 1),
    "cut": (http.cut, 2),
    "short": (http.shorten, 1),
    "bit flip": (http.flip_a_bit, 1),
}


@pytest.mark.parametrize("name", ["dataset.json", "shard-00001.idx.npy", SHARD])
@pytest.mark.parametrize(("fault", "times"), PASSING.values(), ids=PASSING)
def test_what_passes_is_waited_for(made: Made, server: http.Server, tmp_path: Path, name: str, fault: http.Fault, times: int) -> None:
    if name == "dataset.json" and fault in (http.shorten, http.flip_a_bit):
        return  # nothing says how long it should be: see test_a_damaged_dataset_json_is_refused
    server.fail(name, fault, times)
    assert read_shard(remote(server, tmp_path)) == read_shard(made.dataset)
    assert server.requests[name] == times + 1


LASTING = {
    "500": (http.status(500), 3, r"the server answers 500 .* \(tried 3 times\); is the server well, and data\.timeout_s long enough\?"),
    "stall": (http.stall, 3, r"no answer within 0\.2 s \(tried 3 times\)"),
    "cut": (http.cut, 3, r"the connection ended after \d+ of \d+ bytes \(tried 3 times\)|sha256"),
    "bit flip": (http.flip_a_bit, 3, r"its sha256 is not the one in dataset\.json \(tried 3 times\)"),
    "404": (http.status(404), 1, r"the server answers 404 Not Found$"),
    "403": (http.status(403), 1, r"the server answers 403 Forbidden$"),
    "login page": (http.login_page, 1, r"the server sends an HTML page instead of data; does it want a login\?$"),
}


@pytest.mark.parametrize(("fault", "tries", "message"), LASTING.values(), ids=LASTING)
def test_what_lasts_is_one_line_with_url_reason_and_tries(
    server: http.Server, tmp_path: Path, fault: http.Fault, tries: int, message: str
) -> None:
    server.ranges = False
    server.fail(SHARD, fault, 100)
    with pytest.raises(DataError, match=rf"^{server.url}/{SHARD}: {message}") as caught:
        read_shard(remote(server, tmp_path, timeout_s=0.2))
    assert "\n" not in str(caught.value)
    assert tries <= server.requests[SHARD] < 2 * tries  # once more where it was asked in vain to go on in the middle
    assert SHARD not in finished_files(tmp_path)


def test_a_shard_that_is_shorter_on_the_server_is_told(made: Made, server: http.Server, tmp_path: Path) -> None:
    path = made.dataset.path / SHARD
    path.write_bytes(path.read_bytes()[:-1024])
    size = made.dataset.shards[1].bytes
    with pytest.raises(DataError, match=rf"{SHARD}: {size - 1024} of {size} bytes came \(tried 3 times\)"):
        read_shard(remote(server, tmp_path))


def test_a_damaged_dataset_json_is_refused(made: Made, server: http.Server, tmp_path: Path) -> None:
    for fault in (http.shorten, http.flip_a_bit):
        server.fail("dataset.json", fault)
        with pytest.raises(DataError, match=rf"^{server.url}/dataset\.json: "):
            remote(server, tmp_path)


def test_no_server_is_told_in_a_line(made: Made, tmp_path: Path) -> None:
    with http.Server(made.dataset.path) as server:
        pass
    with pytest.raises(DataError, match=r"/data/dataset\.json: Connection refused \(tried 3 times\)"):
        remote(server, tmp_path)


def test_a_download_that_was_cut_goes_on_where_it_ended(made: Made, server: http.Server, tmp_path: Path) -> None:
    server.fail(SHARD, http.cut)
    asked: list[str | None] = []

    def watch(handler: http.Handler, content: bytes) -> None:
        asked.append(handler.headers.get("Range"))
        handler.answer(content)

    server.fail(SHARD, watch)
    assert read_shard(remote(server, tmp_path)) == read_shard(made.dataset)
    assert asked == [f"bytes={made.dataset.shards[1].bytes // 2}-"]


def test_messages_have_neither_password_nor_query(tmp_path: Path) -> None:
    options = RemoteOptions(tries=1, timeout_s=0.2)
    with pytest.raises(DataError, match=r"^http://127\.0\.0\.1:9/a/dataset\.json: ") as caught:
        open_remote("http://127.0.0.1:9/a?token=secret", tmp_path, options)
    assert "secret" not in str(caught.value)
    assert transfer.shown("ftp://me:secret@host/a/b") == "ftp://host/a/b"
    assert transfer.join("http://host/a b?token=1".replace(" ", "%20"), "c d.tar") == "http://host/a%20b/c%20d.tar?token=1"


# shards too large to copy


def test_samples_of_large_shards_are_read_one_by_one(made: Made, server: http.Server, tmp_path: Path) -> None:
    server.fail(SHARD, http.status(500), 2)
    dataset = remote(server, tmp_path, range_reads_gb=1e-9)
    assert read_all(dataset, workers=1) == read_all(made.dataset)
    assert not any(name.endswith(".tar") for name in finished_files(tmp_path))


def test_a_bit_flipped_on_the_way_is_read_again_and_one_on_the_server_is_told(made: Made, server: http.Server, tmp_path: Path) -> None:
    def flip_within(handler: http.Handler, content: bytes) -> None:
        handler.answer(bytes(byte ^ 1 for byte in content))

    server.fail(SHARD, flip_within)
    dataset = remote(server, tmp_path, range_reads_gb=1e-9)
    assert read_shard(dataset) == read_shard(made.dataset)
    server.fail(SHARD, flip_within, 100)
    with pytest.raises(DataError, match=rf"{server.url}/{SHARD}: sample 0 .*: its bytes have changed"):
        read_shard(dataset)


def test_a_server_without_ranges_is_told_what_to_do(server: http.Server, tmp_path: Path) -> None:
    server.ranges = False
    with pytest.raises(DataError, match=r"no Range\); raise data\.range_reads_gb above the size of the shards"):
        read_shard(remote(server, tmp_path, range_reads_gb=1e-9))


# the cache


def _read_shard_in_process(url: str, cache: Path, shards: list[int]) -> None:
    dataset = open_remote(url, cache, RemoteOptions(tries=3, timeout_s=5))
    for shard in shards:
        read_shard(dataset, shard)


def test_processes_that_want_the_same_shards_download_each_once(made: Made, server: http.Server, tmp_path: Path) -> None:
    server.delay_s = 0.1
    shards = list(range(len(made.dataset.shards)))
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_read_shard_in_process, args=(server.url, tmp_path / "cache", order), daemon=True)
        for order in (shards, shards, shards[::-1])
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert server.requests.pop("dataset.json") == 3
    assert set(server.requests.values()) == {1}
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_the_download_of_a_killed_process_is_taken_over(made: Made, server: http.Server, tmp_path: Path) -> None:
    server.fail(SHARD, http.stall)
    process = multiprocessing.get_context("fork").Process(
        target=_read_shard_in_process, args=(server.url, tmp_path / "cache", [1]), daemon=True
    )
    process.start()
    deadline = time.monotonic() + 20
    while not any(path.stat().st_size for path in (tmp_path / "cache").rglob(f"{SHARD}.part")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.join()
    assert SHARD not in finished_files(tmp_path)
    assert read_shard(remote(server, tmp_path)) == read_shard(made.dataset)


def test_a_cached_shard_that_the_disk_has_changed_is_downloaded_again(made: Made, server: http.Server, tmp_path: Path) -> None:
    expected = read_shard(remote(server, tmp_path))
    (path,) = (tmp_path / "cache").rglob(SHARD)
    content = bytearray(path.read_bytes())
    content[made.dataset.load_index(1)[3]["offset"] + 5] ^= 1
    path.write_bytes(content)
    assert read_shard(remote(server, tmp_path)) == expected
    assert server.requests[SHARD] == 2
    path.write_bytes(content[:-512])
    assert read_shard(remote(server, tmp_path)) == expected
    (index,) = (tmp_path / "cache").rglob("shard-00001.idx.npy")
    index.write_bytes(b"x")
    assert read_shard(remote(server, tmp_path)) == expected


def test_the_cache_stays_within_its_limit_and_lets_go_of_what_was_used_longest_ago(made: Made, server: http.Server, tmp_path: Path) -> None:
    sizes = [shard.bytes for shard in made.dataset.shards]
    dataset = remote(server, tmp_path, cache_gb=(sum(sizes[:3]) + 5000) / GB)
    for shard in (0, 1, 2):
        read_shard(dataset, shard)
    read_shard(dataset, 0)  # used again
    read_shard(dataset, 3)
    assert [name for name in finished_files(tmp_path) if name.endswith(".tar")] == [f"shard-0000{shard}.tar" for shard in (0, 2, 3)]
    assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("shard*")) <= dataset.cache.limit_bytes


def test_what_is_open_is_never_removed(made: Made, server: http.Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    dataset = remote(server, tmp_path, cache_gb=10_000 / GB)
    reader = Reader(dataset)
    for shard in range(3):
        reader.read(shard, 0)
    assert len([name for name in finished_files(tmp_path) if name.endswith(".tar")]) == 3
    assert "all of it is in use; it grows" in capfd.readouterr().err
    reader.close()
    read_shard(dataset, 3)
    assert [name for name in finished_files(tmp_path) if name.endswith(".tar")] == ["shard-00003.tar"]


def test_a_cache_below_two_windows_is_refused_at_the_start(made: Made, server: http.Server, tmp_path: Path) -> None:
    dataset = remote(server, tmp_path, cache_gb=2.5 * made.dataset.shards[0].bytes / GB)
    refuse_small_cache(dataset, window=1)
    with pytest.raises(ConfigError, match=r"data\.cache_gb \S+ is too little: two windows of 2 shards have .* GB; raise it, or lower"):
        refuse_small_cache(dataset, window=2)


def test_a_full_disk_is_the_machines_fault(made: Made, server: http.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    dataset = remote(server, tmp_path)
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(EnvironmentFault, match=r"No space left on device; lower data\.cache_gb, or set BIGGAN_SCALE_CACHE"):
        read_shard(dataset)


def test_the_next_window_is_there_before_it_is_needed(made: Made, server: http.Server, tmp_path: Path) -> None:
    dataset = remote(server, tmp_path)
    order = GlobalOrder(dataset.shard_sizes, window=1)
    loader = Loader(dataset, order, workers=0, flip=False, seed=0)
    next(loader.ranges([(0, 1)]))
    (first,), stop = order.window_at(0)
    (second,), _ = order.window_at(stop)
    wanted = sorted(f"shard-0000{shard}.tar" for shard in (first, second))
    deadline = time.monotonic() + 20
    while (have := [name for name in finished_files(tmp_path) if name.endswith(".tar")]) != wanted:
        assert time.monotonic() < deadline, have
        time.sleep(0.02)
    loader.close()


def test_windows_are_told_with_their_end() -> None:
    order = GlobalOrder([3, 4, 5], seed=1, window=2)
    shards, stop = order.window_at(0)
    assert stop == np.take([3, 4, 5], shards).sum()
    assert set(order.positions(0, stop)[:, 0]) == set(shards.tolist())
    rest, end = order.window_at(stop)
    assert end == 12 and {*shards.tolist(), *rest.tolist()} == {0, 1, 2}
    assert order.window_at(end)[1] > 12


def _read_in_random_order(url: str, cache: Path, limit_gb: float, seed: int, expected: list[list[bytes]]) -> None:
    dataset = open_remote(url, cache, RemoteOptions(cache_gb=limit_gb, tries=3, timeout_s=5))
    for shard in np.random.RandomState(seed).randint(0, len(expected), 60).tolist():
        assert read_shard(dataset, shard) == expected[shard]


def test_processes_that_take_files_from_each_other_read_what_is_right(made: Made, server: http.Server, tmp_path: Path) -> None:
    sizes = [shard.bytes for shard in made.dataset.shards]
    expected = [read_shard(made.dataset, shard) for shard in range(len(sizes))]
    context = multiprocessing.get_context("fork")
    limit = 2.5 * max(sizes)
    processes = [
        context.Process(target=_read_in_random_order, args=(server.url, tmp_path / "cache", limit / GB, seed, expected), daemon=True)
        for seed in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert sum(server.requests[f"shard-0000{shard}.tar"] for shard in range(5)) > 5  # there was something to take
    assert not list((tmp_path / "cache").rglob("*.part"))
    in_cache = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("shard*"))
    assert in_cache <= limit + 4 * max(sizes)  # four downloads at once come on top
