"""The command `biggan-data`: one file a verb. Nothing heavier than argparse is loaded before a verb's `run`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from biggan_scale.config import command
from data_tools import bench, export, index, inspect, merge, pack, preview, reshard, split, stats, verify

VERBS = {
    "pack": pack,
    "merge": merge,
    "index": index,
    "verify": verify,
    "inspect": inspect,
    "preview": preview,
    "stats": stats,
    "split": split,
    "reshard": reshard,
    "export": export,
    "bench": bench,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit code."""
    return PROGRAM.main(argv)


def _parse(parser: command.Parser, words: Sequence[str]) -> argparse.Namespace:
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser.parse_args(words)


PROGRAM = command.Program(
    "biggan-data",
    "Pack images into shards, and check and show what is in them.",
    VERBS,
    "biggan-data VERB --help tells the rest.",
    parse=_parse,
)
