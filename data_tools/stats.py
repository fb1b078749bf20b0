"""count classes, sizes, pixels and duplicates

Decodes every image: number of images by class, bytes per image, mean and standard deviation of each channel (0 to 255), and
images whose pixels are equal, with how many of these have different labels.
"""

from __future__ import annotations

import argparse
import json

MOST_CLASSES = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("place", metavar="DIR|URL", help="a data set")


def run(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from biggan_scale.data.packaged import open_stored
    from biggan_scale.data.progress import Progress
    from biggan_scale.data.statistics import statistics

    dataset = open_stored(args.place)
    with Progress("images") as progress:
        found = statistics(dataset, progress.show)
    if args.json:
        size = {"height": dataset.height, "width": dataset.width, "channels": dataset.channels, "encode": dataset.encode}
        print(json.dumps({**size, **asdict(found)}))
        return 0
    print(f"{found.num_images} images, {dataset.width}x{dataset.height}, {dataset.channels} channels, {dataset.encode}")
    print(f"bytes per image: {found.bytes_min} to {found.bytes_max}, {found.bytes_mean:.0f} on average")
    print("mean " + " ".join(f"{value:.2f}" for value in found.mean) + ", std " + " ".join(f"{value:.2f}" for value in found.std))
    print(f"{found.num_duplicates} duplicates, {found.conflicting} of them with another label")
    for group in found.duplicates:
        print("  " + " = ".join(group))
    for number, (name, num) in enumerate(found.labels.items()):
        if number == MOST_CLASSES:
            print(f"  ... and {len(found.labels) - number} more classes; --json has all")
            break
        print(f"  {number} {name}: {num}")
    return 0
