"""index webdataset tars that others have written

Writes NAME.idx.npy beside each NAME.tar of a directory and one dataset.json. A sample is one image (png, jpg, webp or npy) and,
where there are classes, a .cls; all images must have one size. The names of the classes come from classes.json, if there is one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR", help="where the tars are")


def run(args: argparse.Namespace) -> int:
    from biggan_scale.data.foreign import index_tars
    from biggan_scale.data.progress import Progress

    with Progress("shards") as progress:
        dataset = index_tars(args.directory, progress.show)
    summary = {
        "images": dataset.num_samples,
        "classes": dataset.num_classes,
        "height": dataset.height,
        "width": dataset.width,
        "channels": dataset.channels,
        "shards": len(dataset.shards),
        "fingerprint": dataset.fingerprint,
    }
    text = "{images} images of {classes} classes, {height}x{width}, {channels} channels, in {shards} shards\nfingerprint {fingerprint}"
    print(json.dumps(summary) if args.json else text.format(**summary))
    return 0
