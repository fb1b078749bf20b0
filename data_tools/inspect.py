"""show what a data set, a shard or a sample is

DIR tells of the data set, DIR:3 or DIR/shard-00003.tar of a shard, DIR:3:17 or DIR/shard-00003.tar:17 of a sample, counted
from 0. DIR may be a URL; one of a host alone ends in a slash before the colon. A sample's stored image can be written to a file.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from pathlib import Path
from typing import Any

from biggan_scale.config.errors import ConfigError, EnvironmentFault


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("place", metavar="DIR[:SHARD[:SAMPLE]]", help="or DIR/SHARD.tar[:SAMPLE]")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where a sample's image is written, as it is stored")


def run(args: argparse.Namespace) -> int:
    from biggan_scale.data.packaged import open_stored

    directory, shard, sample = _parse(args.place)
    if args.out and sample is None:
        raise ConfigError("--out writes the image of one sample; name it, as in DIR:0:17")
    dataset = open_stored(directory, check_files=False)
    if isinstance(shard, str):
        names = [known.name for known in dataset.shards]
        if shard not in names:
            raise ConfigError(f"{dataset.shown(shard)}: not a shard of the data set in {dataset.shown('')}")
        shard = names.index(shard)
    if shard is not None and shard >= len(dataset.shards):
        raise ConfigError(f"{dataset.shown('')}: has shards 0 to {len(dataset.shards) - 1}; there is no {shard}")
    about = (
        _of_dataset(dataset)
        if shard is None
        else _of_shard(dataset, shard)
        if sample is None
        else _of_sample(dataset, shard, sample, args.out)
    )
    print(json.dumps(about) if args.json else "\n".join(f"{name}: {_text(value)}" for name, value in about.items()))
    return 0


def _parse(place: str) -> tuple[str, int | str | None, int | None]:
    """Directory, number or name of the shard, number of the sample."""
    match = re.fullmatch(r"(.+?\.tar)(?::(\d+))?", place)
    if match:
        directory, name = os.path.split(match[1])
        return directory or ".", name, int(match[2]) if match[2] else None
    match = re.fullmatch(r"((?:\w+://[^/]*)?.*?)(?::(\d+))?(?::(\d+))?", place)  # what follows a host is a port
    if not match or not match[1]:
        raise ConfigError(f"{place!r} is not DIR, DIR:SHARD or DIR:SHARD:SAMPLE")
    return match[1], int(match[2]) if match[2] else None, int(match[3]) if match[3] else None


def _of_dataset(dataset: Any) -> dict[str, Any]:
    from biggan_scale.data.remote import RemoteDataset

    about = {
        "directory": dataset.shown(""),
        "images": dataset.num_samples,
        "height": dataset.height,
        "width": dataset.width,
        "channels": dataset.channels,
        "encode": dataset.encode,
        "classes": dict(zip(dataset.classes, dataset.label_histogram, strict=True)),
        "shards": len(dataset.shards),
        "bytes": sum(shard.bytes for shard in dataset.shards),
        "fingerprint": dataset.fingerprint,
    }
    if not isinstance(dataset, RemoteDataset):  # whose files show when they are read
        about["problems"] = [problem for shard in dataset.shards if (problem := dataset.file_problem(shard))]
    return about


def _of_shard(dataset: Any, shard: int) -> dict[str, Any]:
    from biggan_scale.data.stored import stored_in

    known = dataset.shards[shard]
    rows = dataset.load_index(shard)
    return {
        "shard": dataset.shown(dataset.shards[shard].name),
        "images": known.num_samples,
        "bytes": known.bytes,
        "sha256": known.sha256,
        "labels": len(set(rows["label"].tolist())) if dataset.classes else 0,
        "bytes_of_images": [int(rows["size"].min()), int(rows["size"].max())],
        "keys": [sample.key for sample in stored_in(dataset, shard)],
    }


def _of_sample(dataset: Any, shard: int, sample: int, out: Path | None) -> dict[str, Any]:
    import numpy as np

    from biggan_scale.data.reader import Reader
    from biggan_scale.data.stored import stored_in

    if sample >= dataset.shards[shard].num_samples:
        known = dataset.shards[shard]
        raise ConfigError(f"{dataset.shown(known.name)}: has samples 0 to {known.num_samples - 1}; there is no {sample}")
    found = stored_in(dataset, shard)[sample]
    reader = Reader(dataset)
    data, label = reader.read(shard, sample)
    pixels = np.empty((dataset.height, dataset.width, dataset.channels), np.uint8)
    reader.read_pixels(shard, sample, pixels)
    row = dataset.load_index(shard)[sample]
    if out:
        try:
            out.write_bytes(data)
        except OSError as error:
            raise EnvironmentFault(f"{out}: {error.strerror}") from error
    return {
        "shard": dataset.shown(dataset.shards[shard].name),
        "sample": sample,
        "key": found.key,
        "format": found.extension,
        "label": label if dataset.classes else None,
        "class": dataset.classes[label] if dataset.classes else None,
        "offset": int(row["offset"]),
        "bytes": len(data),
        "crc32": f"{int(row['crc32']):08x}",
        "mean": [round(float(value), 2) for value in pixels.mean((0, 1))],
        "std": [round(float(value), 2) for value in pixels.std((0, 1))],
    }


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {num}" for name, num in value.items()) or "none"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
