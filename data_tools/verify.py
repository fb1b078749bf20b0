"""check shards to the last byte

Reads everything: sizes, sha256, each tar against its index, and that every image decodes. Behind a URL, what the server sends
now is checked, not what is in the cache.
"""

from __future__ import annotations

import argparse
import json
import sys

from biggan_scale.config.errors import DataError

MOST_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("place", metavar="DIR|URL", help="a data set")


def run(args: argparse.Namespace) -> int:
    from biggan_scale.data.progress import Progress
    from biggan_scale.data.verify import verify

    with Progress("shards") as progress:
        dataset, problems = verify(args.place, progress.show)
    if args.json:
        print(json.dumps({"images": dataset.num_samples, "shards": len(dataset.shards), "problems": problems}))
    elif not problems:
        print(f"{dataset.num_samples} images in {len(dataset.shards)} shards: all as they were packed")
    else:
        print("\n".join(problems[:MOST_SHOWN]), file=sys.stderr)
    if problems:
        raise DataError(f"{dataset.shown('')}: {len(problems)} problems; restore the shards from where they were packed, or pack again")
    return 0
