"""copy a data set into shards of another size

The images are copied as they are, their checksums verified. They keep their order, or are shuffled anew by --seed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from data_tools.pack import size_in_bytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("place", metavar="DIR|URL", help="a data set")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="new or empty directory")
    parser.add_argument("--shard-size", type=size_in_bytes, default=128 * 10**6, metavar="SIZE", help="largest shard (default 128MB)")
    parser.add_argument("--shard-samples", type=int, default=2**20, metavar="N", help="most samples in a shard")
    parser.add_argument("--seed", type=int, metavar="N", help="shuffle by it (default: keep the order)")


def run(args: argparse.Namespace) -> int:
    from biggan_scale.data.packaged import open_stored
    from biggan_scale.data.progress import Progress
    from biggan_scale.data.stored import reshard

    dataset = open_stored(args.place)
    with Progress("images") as progress:
        copied = reshard(dataset, args.out, args.shard_size, args.shard_samples, args.seed, progress.show)
    summary = {"out": str(args.out), "images": copied.num_samples, "shards": len(copied.shards), "fingerprint": copied.fingerprint}
    print(json.dumps(summary) if args.json else "{images} images in {shards} shards in {out}\nfingerprint {fingerprint}".format(**summary))
    return 0
