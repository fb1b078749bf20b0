"""What lies in the shards of a data set: the names of its samples, which training never needs, and copies of some of them.

Names are read from the tars' headers, images through the index with their checksums, so nothing damaged is ever copied.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from biggan_scale.config.errors import ConfigError, DataError, EnvironmentFault
from biggan_scale.data.index import Dataset, Shard
from biggan_scale.data.order import permutation
from biggan_scale.data.reader import Reader
from biggan_scale.data.shard_writer import ShardWriter, members_of
from biggan_scale.data.tar import members, split_name


class Stored(NamedTuple):
    """Where one sample is, and what it is called."""

    shard: int
    place: int  # in the shard, from 0
    key: str
    extension: str  # of the image


def stored_samples(dataset: Dataset) -> Iterator[Stored]:
    """All samples in the order in which they are stored. Raises: DataError where a tar is not what its index says."""
    for shard in range(len(dataset.shards)):
        yield from stored_in(dataset, shard)


def stored_in(dataset: Dataset, shard: int) -> list[Stored]:
    """The samples of one shard."""
    rows = dataset.load_index(shard)
    with dataset.at_hand(shard) as path:
        name_at = {offset: name for name, offset, _ in members(path)}
    found = []
    for index, offset in enumerate(rows["offset"].tolist()):
        if offset not in name_at:
            shown = dataset.shown(dataset.shards[shard].name)
            raise DataError(f"{shown}: sample {index} is not where the index says; {dataset.how_to_check}")
        found.append(Stored(shard, index, *split_name(name_at[offset])))
    return found


def reshard(
    dataset: Dataset, out: Path, shard_bytes: int, shard_samples: int, seed: int | None, progress: Callable[[int, int], None]
) -> Dataset:
    """The same samples in shards of another size; shuffled anew where there is a seed, else in the same order."""
    samples = list(stored_samples(dataset))
    if seed is not None:
        samples = [samples[i] for i in permutation(len(samples), seed)]
    (copied,) = copy(dataset, {out: samples}, shard_bytes, shard_samples, progress)
    return copied


def split(
    dataset: Dataset,
    outs: dict[Path, float],
    seed: int,
    shard_bytes: int,
    shard_samples: int,
    progress: Callable[[int, int], None],
) -> list[Dataset]:
    """Divides the samples by a hash of (seed, key): a sample stays in its part when others come or go.

    Args:
        dataset: all samples.
        outs: directory and share of each part; the shares sum to 1.
    """
    parts: dict[Path, list[Stored]] = {out: [] for out in outs}
    for sample in stored_samples(dataset):
        parts[_choose(outs, key_fraction(sample.key, seed))].append(sample)
    for out, samples in parts.items():
        if not samples:
            raise DataError(f"{out}: none of the {dataset.num_samples} samples would fall into it; give it a larger share")
    return copy(dataset, parts, shard_bytes, shard_samples, progress)


def key_fraction(key: str, seed: int) -> float:
    """A number in [0, 1) that depends on key and seed alone."""
    digest = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8, salt=seed.to_bytes(8, "little"))
    return int.from_bytes(digest.digest(), "big") / 2**64


def copy(
    dataset: Dataset,
    parts: dict[Path, list[Stored]],
    shard_bytes: int,
    shard_samples: int,
    progress: Callable[[int, int], None],
) -> list[Dataset]:
    """Writes samples, as they are, into new data sets of the same images and classes.

    Raises: ConfigError where a directory is in use, DataError where a sample is damaged, EnvironmentFault.
    """
    try:
        for out in parts:
            out.mkdir(parents=True, exist_ok=True)
            if any(out.iterdir()):
                raise ConfigError(f"{out}: is not empty; give --out a new or empty directory")
        total, done = sum(map(len, parts.values())), 0
        copied = []
        reader = Reader(dataset)
        for out, samples in parts.items():
            writer = ShardWriter(out, shard_bytes, shard_samples)
            shards: list[Shard | None] = []
            labels: Counter[int] = Counter()
            for sample in samples:
                data, label = reader.read(sample.shard, sample.place)
                shards.append(writer.add(members_of(sample.key, sample.extension, data, label)))
                labels[label] += 1
                done += 1
                progress(done, total)
            shards.append(writer.finish())
            copied.append(_like(dataset, out, shards, labels))
        reader.close()
        for part in copied:
            part.save()
    except OSError as error:
        raise EnvironmentFault(f"{error.filename or next(iter(parts))}: {error.strerror}; nothing has been published") from error
    return copied


def _like(dataset: Dataset, out: Path, shards: Iterable[Shard | None], labels: Counter[int]) -> Dataset:
    return Dataset(
        path=out,
        height=dataset.height,
        width=dataset.width,
        channels=dataset.channels,
        encode=dataset.encode,
        classes=dataset.classes,
        label_histogram=tuple(labels[label] for label in range(dataset.num_classes)),
        shards=tuple(shard for shard in shards if shard),
    )


def _choose(outs: dict[Path, float], fraction: float) -> Path:
    end = 0.0
    for out, share in outs.items():
        end += share
        if fraction < end:
            return out
    return next(reversed(outs))
