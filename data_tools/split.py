"""divide a data set into train, val and test

A sample's part is decided by a hash of its key and --seed: the same sample falls into the same part however the data set grows.
Each part is a data set of its own, OUT/train, OUT/val and OUT/test, with all classes; the shares are met nearly, not exactly.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from biggan_scale.config.errors import ConfigError
from data_tools.pack import size_in_bytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("place", metavar="DIR|URL", help="a data set")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="new or empty directory")
    parser.add_argument("--val", type=float, default=0.0, metavar="SHARE", help="of the samples, such as 0.1")
    parser.add_argument("--test", type=float, default=0.0, metavar="SHARE", help="of the samples")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the hash (default 0)")
    parser.add_argument("--shard-size", type=size_in_bytes, default=128 * 10**6, metavar="SIZE", help="largest shard (default 128MB)")
    parser.add_argument("--shard-samples", type=int, default=2**20, metavar="N", help="most samples in a shard")


def run(args: argparse.Namespace) -> int:
    shares = {name: share for name, share in (("val", args.val), ("test", args.test)) if share}
    if not shares or min(shares.values()) < 0 or sum(shares.values()) >= 1:
        raise ConfigError(f"--val {args.val:g} --test {args.test:g}: shares must be above 0, and leave something for train")
    from biggan_scale.data.packaged import open_stored
    from biggan_scale.data.progress import Progress
    from biggan_scale.data.stored import split

    outs = {args.out / name: share for name, share in shares.items()} | {args.out / "train": 1 - sum(shares.values())}
    with Progress("images") as progress:
        parts = split(open_stored(args.place), outs, args.seed, args.shard_size, args.shard_samples, progress.show)
    summary = {
        part.path.name: {
            "images": part.num_samples,
            "shards": len(part.shards),
            "empty_classes": sum(num == 0 for num in part.label_histogram),
            "fingerprint": part.fingerprint,
        }
        for part in reversed(parts)
    }
    if args.json:
        print(json.dumps(summary))
    else:
        for name, about in summary.items():
            empty = f", {about['empty_classes']} classes empty" if about["empty_classes"] else ""
            print(f"{args.out / name}: {about['images']} images in {about['shards']} shards{empty}")
    return 0
