"""How our commands begin and end: `PROGRAM VERB ...`, where every verb is a file.

A verb is a module with a docstring (its purpose in a line, then details), `add_arguments(parser)` and `run(args) -> exit code`.
Mistakes of the user end in one line on stderr and the exit code of their class (errors.py), bugs in a traceback and 1.
"""

from __future__ import annotations

import argparse
import os
import select
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import NoReturn

from biggan_scale import __version__
from biggan_scale.config.errors import ConfigError, UserError

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that complains by ConfigError."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see {self.prog} --help")


def parse(parser: Parser, words: Sequence[str]) -> argparse.Namespace:
    """The usual way to read a verb's arguments: options may stand among the others."""
    return parser.parse_intermixed_args(words)


def tell(error: UserError, who: str, speaker: str = "") -> int:
    """Say on stderr what is wrong, unless that is another rank's to say, and return the exit code."""
    if not error.reported_elsewhere:
        print("\n".join(f"{who}: {speaker}{line}" for line in str(error).splitlines()), file=sys.stderr)
    return error.exit_code


@dataclass(frozen=True)
class Program:
    """A command of ours.

    Attributes:
        noun: what the help calls a verb.
        parse: reads a verb's arguments, when the verb and `--debug` have been added to its parser.
        tell: says what is wrong (error, who speaks) and returns the exit code.
    """

    name: str
    purpose: str
    verbs: Mapping[str, ModuleType]
    epilog: str
    noun: str = "verb"
    parse: Callable[[Parser, Sequence[str]], argparse.Namespace] = parse
    tell: Callable[[UserError, str], int] = tell

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Runs one verb and returns its exit code."""
        arguments = sys.argv[1:] if argv is None else list(argv)
        name = arguments[0] if arguments and arguments[0] in self.verbs else ""
        debug = "--debug" in arguments
        if not debug:
            warnings.formatwarning = lambda message, *_: f"{self.name}: warning: {message}\n"
        try:
            code = self._run(name, arguments)
            sys.stdout.flush()
            return code
        except UserError as error:
            if debug:
                traceback.print_exc()
            return self.tell(error, f"{self.name} {name}".strip())
        except KeyboardInterrupt:
            return INTERRUPTED
        except Exception as error:
            if isinstance(error, BrokenPipeError) and _reader_is_gone():
                return 0
            traceback.print_exc()
            return 1

    def _run(self, name: str, arguments: Sequence[str]) -> int:
        if not name:
            self._overview().parse_args(arguments or ["--help"])
            return 0
        verb = self.verbs[name]
        purpose, _, details = (verb.__doc__ or "").partition("\n\n")
        parser = Parser(prog=f"{self.name} {name}", description=f"{purpose[0].upper()}{purpose[1:]}. {details}", allow_abbrev=False)
        verb.add_arguments(parser)
        parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return verb.run(self.parse(parser, arguments[1:]))

    def _overview(self) -> Parser:
        """What is answered where no verb is named."""
        parser = Parser(prog=self.name, description=self.purpose, epilog=self.epilog, allow_abbrev=False)
        parser.add_argument("--version", action="version", version=__version__)
        verbs = parser.add_subparsers(title=f"{self.noun}s", metavar=self.noun.upper(), required=True)
        for name, verb in self.verbs.items():
            verbs.add_parser(name, help=(verb.__doc__ or "").splitlines()[0])
        return parser


def _reader_is_gone() -> bool:
    """Whether it is our stdout that nobody reads any more (`| head`). If so, keep Python from complaining about it at exit."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # errors are reported whatever is asked for
    gone = any(event & select.POLLERR for _, event in poll.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return gone
