"""draw a contact sheet, one row a class"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from biggan_scale.config.errors import ConfigError, EnvironmentFault


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("place", metavar="DIR|URL", help="a data set")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.png", help="the picture to write")
    parser.add_argument("--columns", type=int, default=16, metavar="N", help="images in a row (default 16)")
    parser.add_argument("--rows", type=int, default=32, metavar="N", help="most classes shown (default 32)")


def run(args: argparse.Namespace) -> int:
    from biggan_scale.data.packaged import open_stored
    from biggan_scale.data.preview import contact_sheet

    if args.out.suffix != ".png" or min(args.columns, args.rows) < 1:
        raise ConfigError("--out must end in .png, --columns and --rows be at least 1")
    sheet = contact_sheet(open_stored(args.place), args.rows, args.columns)
    try:
        sheet.save(args.out)
    except OSError as error:
        raise EnvironmentFault(f"{args.out}: {error.strerror}") from error
    print(json.dumps({"out": str(args.out), "height": sheet.height, "width": sheet.width}) if args.json else args.out)
    return 0
