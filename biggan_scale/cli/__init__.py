"""The command `biggan-scale`: one file a command, each with `add_arguments(parser)` and `run(args) -> exit code`.

Here is what they share: choosing one, and ending. Mistakes of the user end in one line on stderr and the exit code of their
class (config/errors.py), bugs in a traceback and 1. Nothing here loads torch; commands that need it import it in `run`.
"""

from __future__ import annotations

import argparse
import os
import select
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import NoReturn

from biggan_scale import __version__
from biggan_scale.cli import evaluate, export, import_, sample, status, train
from biggan_scale.config.errors import ConfigError, DoNotRequeue, Preempted, UserError

COMMANDS = {"train": train, "sample": sample, "evaluate": evaluate, "export": export, "import": import_, "status": status}
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
STOPPED_IN_GOOD_ORDER = (Preempted.exit_code, DoNotRequeue.exit_code)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    name = arguments[0] if arguments and arguments[0] in COMMANDS else ""
    debug = "--debug" in arguments
    if not debug:
        warnings.formatwarning = lambda message, *_: f"biggan-scale: warning: {message}\n"
    try:
        code = _run(name, arguments)
        sys.stdout.flush()
        return code
    except UserError as error:
        return _told(error, f"biggan-scale {name}".strip(), debug)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_is_gone():
            return 0
        traceback.print_exc()
        return 1


def _run(name: str, arguments: Sequence[str]) -> int:
    if not name:
        _overview().parse_args(arguments or ["--help"])
        return 0
    command = COMMANDS[name]
    purpose, _, details = (command.__doc__ or "").partition("\n\n")
    parser = _Parser(prog=f"biggan-scale {name}", description=f"{purpose.capitalize()}. {details}", allow_abbrev=False)
    command.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return command.run(parser.parse_intermixed_args(arguments[1:]))


def _overview() -> _Parser:
    """What `biggan-scale` answers where no command is named."""
    purposes = {name: (command.__doc__ or "").splitlines()[0] for name, command in COMMANDS.items()}
    parser = _Parser(
        prog="biggan-scale",
        description="Train, resume, sample and export large class-conditional GANs.",
        epilog="biggan-scale COMMAND --help tells the rest.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, purpose in purposes.items():
        commands.add_parser(name, help=purpose)
    return parser


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser that complains by ConfigError."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see {self.prog} --help")


def _told(error: UserError, command: str, debug: bool) -> int:
    """Says what is wrong, on the rank where it is, and returns the exit code."""
    if debug:
        traceback.print_exc()
    if not error.reported_elsewhere:
        print("\n".join(f"{command}: {_rank()}{line}" for line in str(error).splitlines()), file=sys.stderr)
    # torchrun starts its workers again after any code but 0; state.json in the run directory has the verdict
    under_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    return 0 if under_torchrun and error.exit_code in STOPPED_IN_GOOD_ORDER else error.exit_code


def _rank() -> str:
    """Who speaks, where there are several: torchrun's words for it, or Slurm's."""
    for rank, world in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")):
        if os.environ.get(world, "1") != "1":
            return f"rank {os.environ.get(rank, '?')}: "
    return ""


def _reader_is_gone() -> bool:
    """Whether it is our stdout that nobody reads any more (`| head`). If so, keep Python from complaining about it at exit."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # errors are reported whatever is asked for
    gone = any(event & select.POLLERR for _, event in poll.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return gone
