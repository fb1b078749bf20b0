"""Checks a data set to the last byte: sizes, sha256, each tar against its index, and that every image decodes.

Behind a URL it is what the server sends now that is checked: each shard comes into a directory of its own, and goes again.
"""

from __future__ import annotations

import contextlib
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biggan_scale.config.errors import DataError, EnvironmentFault
from biggan_scale.data.decode import decode
from biggan_scale.data.index import Dataset, Shard, file_sha256
from biggan_scale.data.packaged import cache_directory, is_remote, open_stored
from biggan_scale.data.remote import RemoteDataset
from biggan_scale.data.tar import TarSample, samples

Progress = Callable[[int, int], None]


def verify(place: str | Path, progress: Progress = lambda done, total: None) -> tuple[Dataset, list[str]]:
    """Reads everything.

    Args:
        place: directory or URL.
        progress: called with the number of shards done and their total.

    Returns: the data set, and a line for each thing that is wrong with it.
    Raises: DataError where there is no data set to verify; EnvironmentFault where there is no room for a shard.
    """
    with contextlib.ExitStack() as stack:
        cache = _make_scratch(stack) if is_remote(str(place)) else None
        dataset = open_stored(str(place), check_files=False, cache=cache)
        return dataset, _problems(dataset, progress)


def _make_scratch(stack: contextlib.ExitStack) -> Path:
    where = cache_directory()
    try:
        where.mkdir(parents=True, exist_ok=True)
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="verify-", dir=where)))
    except OSError as error:
        raise EnvironmentFault(f"{where}: {error.strerror}; set BIGGAN_SCALE_CACHE to a writable directory") from error


def _problems(dataset: Dataset, progress: Progress) -> list[str]:
    problems: list[str] = []
    where_is: dict[str, str] = {}  # key: name of its shard
    labels: Counter[int] = Counter()
    for number, shard in enumerate(dataset.shards):
        try:
            problems += _problems_of(dataset, number, shard, where_is, labels)
        except DataError as error:
            problems.append(str(error).replace(str(dataset.shard_path(number)), dataset.shown(shard.name)))
        if isinstance(dataset, RemoteDataset):
            dataset.cache.forget(dataset.cached_name(shard.name))
        progress(number + 1, len(dataset.shards))
    histogram = tuple(labels[label] for label in range(dataset.num_classes))
    if not problems and histogram != dataset.label_histogram:
        problems.append(f"{dataset.shown('')}: the labels are not those counted in the label histogram")
    return problems


def _problems_of(dataset: Dataset, number: int, shard: Shard, where_is: dict[str, str], labels: Counter[int]) -> Iterator[str]:
    if problem := dataset.file_problem(shard):
        yield problem
        return
    shown = dataset.shown(shard.name)
    with dataset.at_hand(number) as path:
        if file_sha256(path) != shard.sha256:
            yield f"{shown}: its sha256 is not the one in dataset.json"
        rows = dataset.load_index(number)
        pixels = np.empty((dataset.height, dataset.width, dataset.channels), np.uint8)
        num_found = 0
        for index, sample in enumerate(samples(path)):
            num_found += 1
            if index < len(rows) and (problem := _sample_problem(sample, rows[index], pixels)):
                yield f"{shown}: sample {index} ({sample.key}): {problem}"
            if where_is.setdefault(sample.key, shard.name) != shard.name:
                yield f"{shown}: key {sample.key!r} is in {where_is[sample.key]} already"
            labels[sample.label] += 1
    if num_found != len(rows):
        yield f"{shown}: {num_found} samples, its index has {len(rows)}"


def _sample_problem(sample: TarSample, row: np.void, pixels: NDArray[np.uint8]) -> str | None:
    offset, size, label, crc32 = row.item()
    if (sample.offset, len(sample.data)) != (offset, size):
        return "is not where the index says"
    if zlib.crc32(sample.data) != crc32:
        return "its bytes have changed since they were packed"
    if sample.label != label:
        return f"has label {sample.label}, its index says {label}"
    try:
        decode(sample.data, pixels)
    except ValueError as error:
        return str(error)
    return None
