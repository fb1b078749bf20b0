"""Every mistake a user can make, as an exception whose message is one line and whose class knows the exit code.

A message says where, what was given, what is allowed, what to do. `cli.main` prints it and exits; `--debug` adds the traceback.
Exit codes 0 (done) and 1 (a bug: any other exception) need no class.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Base of all errors that are answered with one line instead of a traceback."""

    exit_code = 2
    reported_elsewhere = False  # on ranks that only learn of another rank's error: that rank prints it


class ConfigError(UserError):
    """Bad configuration or command line (exit code 2)."""

    exit_code = 2


class DataError(UserError):
    """Bad or missing training data: shards, indexes, images, labels (exit code 3)."""

    exit_code = 3


class CheckpointError(UserError):
    """A checkpoint or export that cannot be read, is corrupt, or does not fit (exit code 4)."""

    exit_code = 4


class EnvironmentFault(UserError):
    """The machine is in the way: disk, permission, lock, port (exit code 5)."""

    exit_code = 5


class Preempted(UserError):
    """Stopped in good order after saving; running the same command again resumes (exit code 75)."""

    exit_code = 75


class DoNotRequeue(UserError):
    """Running again would not help: no progress in three starts, or diverged beyond rollback (exit code 93)."""

    exit_code = 93


def did_you_mean(name: str, known: Iterable[str], allowed: str = "allowed") -> str:
    """The end of a message about an unknown name: the nearest known one, or all of them."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean '{near[0]}'?" if near else f"{allowed}: {', '.join(names) or 'nothing'}"
