"""The command `biggan-data`: one file a verb, each with `add_arguments(parser)` and `run(args) -> exit code`.

Mistakes of the user end in one line on stderr and the exit code of their class (config/errors.py), bugs in a traceback and 1.
Nothing heavier than argparse is loaded before `run`.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from biggan_scale import __version__
from biggan_scale.config.errors import ConfigError, UserError
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
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    name = arguments[0] if arguments and arguments[0] in VERBS else ""
    try:
        return _run(name, arguments)
    except UserError as error:
        if "--debug" in arguments:
            traceback.print_exc()
        print(f"{f'biggan-data {name}'.strip()}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(name: str, arguments: Sequence[str]) -> int:
    if not name:
        _overview().parse_args(arguments or ["--help"])
        return 0
    verb = VERBS[name]
    purpose, _, details = (verb.__doc__ or "").partition("\n\n")
    parser = _Parser(prog=f"biggan-data {name}", description=f"{purpose.capitalize()}. {details}", allow_abbrev=False)
    verb.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return verb.run(parser.parse_args(arguments[1:]))


def _overview() -> _Parser:
    """What `biggan-data` answers where no verb is named."""
    parser = _Parser(
        prog="biggan-data",
        description="Pack images into shards, and check and show what is in them.",
        epilog="biggan-data VERB --help tells the rest.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name, verb in VERBS.items():
        verbs.add_parser(name, help=(verb.__doc__ or "").splitlines()[0])
    return parser


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser that complains by ConfigError."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see {self.prog} --help")
