"""write a data set as a folder or a StyleGAN zip

Images are copied as they are stored (raw pixels become PNG), the labels go into dataset.json as StyleGAN's programs have it, the
names of the classes into classes.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("place", metavar="DIR|URL", help="a data set")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR|FILE.zip", help="new; a name in .zip makes a zip, else a folder")


def run(args: argparse.Namespace) -> int:
    from biggan_scale.data.export import export_folder, export_zip
    from biggan_scale.data.packaged import open_stored
    from biggan_scale.data.progress import Progress

    write = export_zip if args.out.suffix == ".zip" else export_folder
    dataset = open_stored(args.place)
    with Progress("images") as progress:
        num = write(dataset, args.out, progress.show)
    print(json.dumps({"out": str(args.out), "images": num}) if args.json else f"{num} images in {args.out}")
    return 0
