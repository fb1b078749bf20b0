"""join the parts that `pack --part K/N` has packed

Writes the one dataset.json of a directory in which all N parts are finished; nothing is moved. The parts may have been packed by
the tasks of a Slurm array, by hand, or one after another.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from biggan_scale.config.errors import DataError
from data_tools.pack import describe, summary_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR", help="the --out of the parts")


def run(args: argparse.Namespace) -> int:
    from biggan_scale.data.pack import REPORT_FILE, merge

    merged = merge(args.directory)
    summary = summary_of(merged, args.directory)
    print(json.dumps(summary) if args.json else describe(summary))
    if merged.num_skipped:
        total = merged.num_skipped + merged.dataset.num_samples
        raise DataError(f"{merged.num_skipped} of {total} images were left out; {args.directory / REPORT_FILE} says which and why")
    return 0
