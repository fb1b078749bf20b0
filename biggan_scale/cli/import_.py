"""turn another project's weights into an export of ours

Nothing in the file is executed: tensors are read, code is not.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from biggan_scale.export.importers import import_checkpoint, sources


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="the other project's checkpoint")
    projects = sources()
    written_by = f"the project that wrote it: {', '.join(projects)}"
    parser.add_argument("--from", dest="source", metavar="PROJECT", choices=projects, required=True, help=written_by)
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where the export goes")
    parser.add_argument("overrides", metavar="key=value", nargs="*", default=[], help="what the file does not say")


def run(args: argparse.Namespace) -> int:
    for note in import_checkpoint(args.file, args.source, args.out, args.overrides):
        print(note, file=sys.stderr)
    print(f"wrote {args.out}", file=sys.stderr)
    return 0
