"""Data sets behind a URL: `dataset.json` is read at the start, indexes and shards come into the local cache when first touched.

Whatever comes is checked against `dataset.json` before it is used. Shards above a limit are not copied whole: their samples are
read one by one, each checked by its crc32.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from biggan_scale.config.errors import ConfigError, DataError
from biggan_scale.data.cache import Cache, Part, descriptor_sha256
from biggan_scale.data.index import DATASET_FILE, INDEX_DTYPE, Dataset, Shard, parse
from biggan_scale.data.shard_file import ShardFile
from biggan_scale.data.transfer import NoParts, Permanent, Transfer, Transient, join, shown, stream

GB = 10**9
DATASET_MOST_BYTES = 2**28  # a quarter of a kilobyte a shard: a million shards
INDEX_HEADER_MOST_BYTES = 4096


@dataclass(frozen=True)
class RemoteOptions:
    """What the config says about remote data; see `DataConfig`."""

    cache_gb: float | None = None
    range_reads_gb: float = 1.0
    tries: int = 5
    timeout_s: float = 30.0


@dataclass(frozen=True)
class RemoteDataset(Dataset):
    """A data set whose `path` is a directory of the cache.

    Args:
        url: of the directory where the shards are.
        cache: where they come to, as files of the directory `fingerprint`: the same data from two places are there once.
        transfer: how patiently they are read.
        range_reads_above: bytes of a shard from which on its samples are read one by one.
    """

    url: str
    cache: Cache
    transfer: Transfer
    range_reads_above: int

    def shown(self, name: str) -> str:
        return shown(join(self.url, name))

    @property
    def how_to_check(self) -> str:
        return "use `biggan-data verify` where it was packed, and copy it again"

    def file_problem(self, shard: Shard) -> str | None:
        """None: what is there shows when it is read."""
        return None

    @contextmanager
    def at_hand(self, shard: int) -> Iterator[Path]:
        descriptor = self.open_cached(self.shards[shard])
        assert descriptor is not None
        try:
            yield self.shard_path(shard)
        finally:
            os.close(descriptor)

    def open_shard(self, shard: int) -> ShardFile:
        if self.is_read_in_parts(shard):
            return PartwiseShard(self, self.shards[shard])
        return CachedShard(self, self.shards[shard])

    def is_read_in_parts(self, shard: int) -> bool:
        return self.shards[shard].bytes > self.range_reads_above

    def fetch(self, shard: int) -> int | None:
        """Brings index and tar into the cache before they are needed.

        Returns: a descriptor that keeps the tar from being removed; None where there is none to keep, or another process is at it.
        Raises: DataError, EnvironmentFault.
        """
        self.load_index(shard)
        return None if self.is_read_in_parts(shard) else self.open_cached(self.shards[shard], wait=False)

    def open_cached(self, shard: Shard, wait: bool = True) -> int | None:
        download = self._download(shard.name, shard.bytes, shard.sha256, most=shard.bytes)
        return self.cache.open(self.cached_name(shard.name), shard.bytes, download, wait)

    def cached_name(self, name: str) -> str:
        return f"{self.path.name}/{name}"

    def _read_index(self, shard: Shard) -> bytes:
        name = self.cached_name(shard.index_name)
        most = INDEX_HEADER_MOST_BYTES + INDEX_DTYPE.itemsize * shard.num_samples
        download = self._download(shard.index_name, None, shard.index_sha256, most)
        content = self.cache.read(name, download)
        if hashlib.sha256(content).hexdigest() != shard.index_sha256:  # damaged on this disk
            self.cache.forget(name)
            content = self.cache.read(name, download)
        return content

    def _download(self, name: str, num_bytes: int | None, sha256: str, most: int) -> Callable[[Part], None]:
        url = join(self.url, name)

        def once(part: Part) -> None:
            if num_bytes is None or part.num_bytes < num_bytes:
                self._append(part, url, num_bytes, most)
            if part.sha256() != sha256:
                part.clear()
                raise Transient(f"its sha256 is not the one in {DATASET_FILE}")

        return lambda part: self.transfer.patiently(url, lambda: once(part))

    def _append(self, part: Part, url: str, num_bytes: int | None, most: int) -> None:
        """Continues a part to its end, from the beginning where the server cannot continue."""
        if num_bytes is None:
            part.clear()
        try:
            self._copy(part, url, most)
        except NoParts:
            part.clear()
            self._copy(part, url, most)
        if num_bytes is not None and part.num_bytes != num_bytes:
            raise Transient(f"{part.num_bytes} of {num_bytes} bytes came")

    def _copy(self, part: Part, url: str, most: int) -> None:
        for block in stream(url, part.num_bytes, None, self.transfer.timeout_s):
            part.append(block)
            if part.num_bytes > most:
                part.clear()
                raise Permanent(f"more than the {most} bytes it should have")


class CachedShard:
    """A shard in the cache, locked against removal while it is open."""

    def __init__(self, dataset: RemoteDataset, shard: Shard) -> None:
        self.dataset = dataset
        self.shard = shard
        self.mended = False
        self.descriptor = -1
        self._open()

    def read(self, offset: int, size: int) -> bytes:
        try:
            return os.pread(self.descriptor, size, offset)
        except OSError as error:
            path = self.dataset.shard_path(self.dataset.shards.index(self.shard))
            raise DataError(f"{path}: bytes {offset} to {offset + size}: {error.strerror}; is the disk of the cache well?") from error

    def mend(self) -> bool:
        """Downloads it again where the disk has changed it; once."""
        if self.mended or descriptor_sha256(self.descriptor) == self.shard.sha256:
            return False
        self.close()
        self.dataset.cache.forget(self.dataset.cached_name(self.shard.name))
        self._open()
        self.mended = True
        return True

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    __del__ = close

    def _open(self) -> None:
        descriptor = self.dataset.open_cached(self.shard)
        assert descriptor is not None
        self.descriptor = descriptor


class PartwiseShard:
    """A shard that stays where it is."""

    def __init__(self, dataset: RemoteDataset, shard: Shard) -> None:
        self.url = join(dataset.url, shard.name)
        self.transfer = dataset.transfer

    def read(self, offset: int, size: int) -> bytes:
        return self.transfer.read(self.url, offset, offset + size)

    def mend(self) -> bool:
        return True  # it may have been the way here

    def close(self) -> None:
        pass


def open_remote(url: str, cache_directory: Path, options: RemoteOptions) -> RemoteDataset:
    """Reads `dataset.json` behind a URL.

    Args:
        url: of the directory where the shards are.
        cache_directory: where they will come to.

    Raises: DataError.
    """
    transfer = Transfer(options.tries, options.timeout_s)
    file = join(url, DATASET_FILE)
    dataset = parse(transfer.read(file, most=DATASET_MOST_BYTES), Path(url), shown(file))
    limit = None if options.cache_gb is None else int(options.cache_gb * GB)
    described = {field.name: getattr(dataset, field.name) for field in dataclasses.fields(Dataset)}
    return RemoteDataset(
        **described | {"path": cache_directory / dataset.fingerprint[:32]},
        url=url,
        cache=Cache(cache_directory, limit),
        transfer=transfer,
        range_reads_above=int(options.range_reads_gb * GB),
    )


def refuse_small_cache(dataset: RemoteDataset, window: int) -> None:
    """Raises: ConfigError where the cache cannot hold the window in use and the next one."""
    sizes = sorted((shard.bytes for number, shard in enumerate(dataset.shards) if not dataset.is_read_in_parts(number)), reverse=True)
    needed, limit = sum(sizes[: 2 * window]), dataset.cache.limit_bytes
    if limit is not None and limit < needed:
        raise ConfigError(
            f"data.cache_gb {limit / GB:g} is too little: two windows of {window} shards have {needed / GB:.3g} GB; "
            "raise it, or lower data.window"
        )
