"""Checks a data set to the last byte: sizes, sha256, each tar against its index, and that every image decodes."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biggan_scale.config.errors import DataError
from biggan_scale.data.decode import decode
from biggan_scale.data.index import Dataset, Shard, file_sha256
from biggan_scale.data.tar import TarSample, samples


def verify(path: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> tuple[Dataset, list[str]]:
    """Reads everything.

    Returns: the data set, and a line for each thing that is wrong with it.
    Raises: DataError where there is no data set to verify.
    """
    dataset = Dataset.open(path, check_files=False)
    problems: list[str] = []
    where_is: dict[str, str] = {}  # key: name of its shard
    labels: Counter[int] = Counter()
    for number, shard in enumerate(dataset.shards):
        try:
            for problem in _problems_of(dataset, number, shard, where_is, labels):
                problems.append(problem)
        except DataError as error:
            problems.append(str(error))
        progress(number + 1, len(dataset.shards))
    histogram = tuple(labels[label] for label in range(dataset.num_classes))
    if not problems and histogram != dataset.label_histogram:
        problems.append(f"{path}: the labels are not those counted in the label histogram")
    return dataset, problems


def _problems_of(dataset: Dataset, number: int, shard: Shard, where_is: dict[str, str], labels: Counter[int]) -> Iterator[str]:
    if problem := dataset.file_problem(shard):
        yield problem
        return
    path = dataset.shard_path(number)
    if file_sha256(path) != shard.sha256:
        yield f"{path}: its sha256 is not the one in dataset.json"
    rows = dataset.load_index(number)
    pixels = np.empty((dataset.height, dataset.width, dataset.channels), np.uint8)
    num_found = 0
    for index, sample in enumerate(samples(path)):
        num_found += 1
        if index < len(rows) and (problem := _sample_problem(sample, rows[index], pixels)):
            yield f"{path}: sample {index} ({sample.key}): {problem}"
        if where_is.setdefault(sample.key, shard.name) != shard.name:
            yield f"{path}: key {sample.key!r} is in {where_is[sample.key]} already"
        labels[sample.label] += 1
    if num_found != len(rows):
        yield f"{path}: {num_found} samples, its index has {len(rows)}"


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
