"""time the loading of a data set on this machine

Reads batches in the order of training, as training does, for some seconds with each number of workers: images per second, and
images per second of processor time, which other jobs on the machine disturb less. The first batches are not counted.
"""

from __future__ import annotations

import argparse
import json

from biggan_scale.config.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("place", metavar="DIR|URL", help="a data set")
    parser.add_argument("--workers", default="0,1,2", metavar="N,N,...", help="processes, one measurement each (default 0,1,2)")
    parser.add_argument("--batch", type=int, default=64, metavar="N", help="images in a batch (default 64)")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="of each measurement (default 3)")
    parser.add_argument("--flip", action="store_true", help="mirror half of the images")


def run(args: argparse.Namespace) -> int:
    if not all(part.isdigit() for part in args.workers.split(",")) or args.batch < 1 or args.seconds <= 0:
        raise ConfigError(f"--workers {args.workers}: must be numbers, as in 0,2; --batch at least 1, --seconds above 0")
    from biggan_scale.data.bench import time_loading
    from biggan_scale.data.packaged import open_stored

    dataset = open_stored(args.place)
    found = []
    for workers in map(int, args.workers.split(",")):
        found.append(time_loading(dataset, workers, args.batch, args.seconds, args.flip))
        if not args.json:
            print(
                "{workers} workers: {img_per_s:.0f} images/s, {img_per_cpu_s:.0f} per second of processor time".format(**found[-1]),
                flush=True,
            )
    if args.json:
        size = {"height": dataset.height, "width": dataset.width, "channels": dataset.channels, "encode": dataset.encode}
        print(json.dumps({**size, "batch": args.batch, "measured": found}))
    return 0
