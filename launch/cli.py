"""The command `biggan-launch`: one file a verb, each with `add_arguments(parser)` and `run(args) -> exit code`.

Mistakes of the user end in one line on stderr and the exit code of their class (config/errors.py), bugs in a traceback and 1.
Nothing here or in the verbs loads torch.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from biggan_scale import __version__
from biggan_scale.config.errors import ConfigError, UserError
from launch import cancel, doctor, local, logs, options, requeue, status, stop, submit, sweep

VERBS = {
    "submit": submit,
    "sweep": sweep,
    "local": local,
    "status": status,
    "logs": logs,
    "stop": stop,
    "cancel": cancel,
    "requeue": requeue,
    "doctor": doctor,
}
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    name = arguments[0] if arguments and arguments[0] in VERBS else ""
    try:
        code = _run(name, arguments)
        sys.stdout.flush()
        return code
    except UserError as error:
        if "--debug" in arguments:
            traceback.print_exc()
        command = f"biggan-launch {name}".strip()
        print("\n".join(f"{command}: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads any more (| head)
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(name: str, arguments: Sequence[str]) -> int:
    if not name:
        _overview().parse_args(arguments or ["--help"])
        return 0
    verb = VERBS[name]
    purpose, _, details = (verb.__doc__ or "").partition("\n\n")
    parser = _Parser(prog=f"biggan-launch {name}", description=f"{purpose.capitalize()}. {details}", allow_abbrev=False)
    verb.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    takes_slurm_flags = "overrides" in {action.dest for action in parser._actions}
    rest, settings = options.split(arguments[1:]) if takes_slurm_flags else (list(arguments[1:]), [])
    args, unknown = parser.parse_known_intermixed_args(rest)
    if unknown:
        known = [flag for action in parser._actions for flag in action.option_strings]
        options.refuse_unknown(unknown, known, with_slurm=takes_slurm_flags)
    if takes_slurm_flags:
        args.overrides += settings
    return verb.run(args)


def _overview() -> _Parser:
    """What `biggan-launch` answers where no verb is named."""
    parser = _Parser(
        prog="biggan-launch",
        description="Submit runs to Slurm, and look after them until they are done.",
        epilog="biggan-launch VERB --help tells the rest; docs/cluster.md is the way from nothing to a long run.",
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
