"""The command `biggan-launch`: one file a verb. Nothing here or in the verbs loads torch."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from biggan_scale.config import command
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


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit code."""
    return PROGRAM.main(argv)


def _parse(parser: command.Parser, words: Sequence[str]) -> argparse.Namespace:
    """Where settings can be given, Slurm's flags can: each is a setting."""
    takes_slurm_flags = "overrides" in {action.dest for action in parser._actions}
    rest, settings = options.split(words) if takes_slurm_flags else (list(words), [])
    args, unknown = parser.parse_known_intermixed_args(rest)
    if unknown:
        known = [flag for action in parser._actions for flag in action.option_strings]
        options.refuse_unknown(unknown, known, with_slurm=takes_slurm_flags)
    if takes_slurm_flags:
        args.overrides += settings
    return args


PROGRAM = command.Program(
    "biggan-launch",
    "Submit runs to Slurm, and look after them until they are done.",
    VERBS,
    "biggan-launch VERB --help tells the rest; docs/cluster.md is the way from nothing to a long run.",
    parse=_parse,
)
