"""Numbers that tell what a data set holds: classes, sizes, mean and spread of the pixels, images that are in it twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from biggan_scale.data.index import Dataset
from biggan_scale.data.reader import Reader
from biggan_scale.data.stored import stored_in

MOST_DUPLICATES_NAMED = 20


@dataclass(frozen=True)
class Statistics:
    """
    Args:
        labels: number of images of each class, by its name.
        bytes_min, bytes_mean, bytes_max: of an image as it is stored.
        mean, std: of each channel over all pixels, 0 to 255.
        num_duplicates: images whose pixels another image before them has.
        duplicates: the keys of some of the images that are equal, group by group.
        conflicting: how many of the duplicates have another label than the first.
    """

    num_images: int
    labels: dict[str, int]
    bytes_min: int
    bytes_mean: float
    bytes_max: int
    mean: list[float]
    std: list[float]
    num_duplicates: int
    duplicates: list[list[str]]
    conflicting: int


def statistics(dataset: Dataset, progress: Callable[[int, int], None] = lambda done, total: None) -> Statistics:
    """Decodes every image. Raises: DataError naming shard and sample that cannot be read."""
    reader = Reader(dataset)
    pixels = np.empty((dataset.height, dataset.width, dataset.channels), np.uint8)
    sums, squares = [np.zeros(dataset.channels, object) for _ in range(2)]  # Python's integers: exact, in any order
    seen: dict[bytes, tuple[int, int, int]] = {}  # hash of the pixels: shard, index and label of the first that has them
    groups: dict[bytes, list[tuple[int, int]]] = {}
    sizes = []
    conflicting = done = 0
    for shard, num in enumerate(dataset.shard_sizes.tolist()):
        sizes.append(dataset.load_index(shard)["size"].astype(np.int64))
        for index in range(num):
            label = reader.read_pixels(shard, index, pixels)
            values = pixels.reshape(-1, dataset.channels).astype(np.int64)
            sums += values.sum(0).tolist()
            squares += (values * values).sum(0).tolist()
            digest = hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
            first = seen.setdefault(digest, (shard, index, label))
            if first[:2] != (shard, index):
                groups.setdefault(digest, [first[:2]]).append((shard, index))
                conflicting += first[2] != label
            done += 1
            progress(done, dataset.num_samples)
    reader.close()
    num_values = dataset.num_samples * dataset.height * dataset.width
    mean = [float(total / num_values) for total in sums]
    std = [max(0.0, float(square / num_values) - m * m) ** 0.5 for square, m in zip(squares, mean, strict=True)]
    all_sizes = np.concatenate(sizes)
    return Statistics(
        num_images=dataset.num_samples,
        labels=dict(zip(dataset.classes, dataset.label_histogram, strict=True)),
        bytes_min=int(all_sizes.min()),
        bytes_mean=float(all_sizes.mean()),
        bytes_max=int(all_sizes.max()),
        mean=mean,
        std=std,
        num_duplicates=sum(len(group) - 1 for group in groups.values()),
        duplicates=_names(dataset, list(groups.values())[:MOST_DUPLICATES_NAMED]),
        conflicting=conflicting,
    )


def _names(dataset: Dataset, groups: list[list[tuple[int, int]]]) -> list[list[str]]:
    shards = {shard: stored_in(dataset, shard) for shard in {shard for group in groups for shard, _ in group}}
    return [[shards[shard][index].key for shard, index in group] for group in groups]
