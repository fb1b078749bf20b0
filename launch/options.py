"""Slurm's options as flags: `--partition gpu` is `slurm.partition=gpu` of the configuration, and so for every key of its `slurm:` block.

Lists and mappings grow by repeating the flag: `--setup "module load cuda" --environment NCCL_DEBUG=INFO`.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, get_origin

from biggan_scale.config import typed
from biggan_scale.config.errors import ConfigError, did_you_mean
from biggan_scale.config.slurm import SlurmConfig
from biggan_scale.config.tree import write
from launch import render

KINDS: dict[str, Any] = typed.field_kinds(SlurmConfig)
HELP_WIDTH = 78
FLAGS = {f"--{name.replace('_', '-')}": name for name in KINDS}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """CONFIG, settings, and in the help the names of all Slurm's flags."""
    parser.add_argument("config", metavar="CONFIG", help="a YAML file, or the name of a page in configs/")
    parser.add_argument("overrides", metavar="key=value", nargs="*", default=[], help="settings over the page's")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter  # argparse would break flags at their hyphens
    parser.description = textwrap.fill(parser.description or "", HELP_WIDTH, break_on_hyphens=False)
    flags = f"Slurm's, which can stand in the page's slurm: block too (docs/config.md): {', '.join(FLAGS)}"
    parser.epilog = textwrap.fill(flags, HELP_WIDTH, break_on_hyphens=False)


def add_backend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backend", choices=render.BACKENDS, default="submitit", help="who starts the processes of a node (default: submitit)"
    )


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is not a flag of Slurm's, and the settings (slurm.key=value) that the others stand for."""
    rest: list[str] = []
    given: dict[str, list[str]] = {}
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        name = FLAGS.get(flag)
        if name is None:
            rest.append(word)
        elif KINDS[name] is bool:
            given[name] = [value or "true"]
        else:
            value = value if equals else next(words, "")
            if not value:
                raise ConfigError(f"{flag} needs a value")
            given.setdefault(name, []).append(value)
    return rest, [f"slurm.{name}={_yaml(name, values)}" for name, values in given.items()]


def refuse_unknown(words: Sequence[str], known: Sequence[str], with_slurm: bool) -> None:
    """Raises:
    ConfigError: for the first word left over, with the nearest flag there is.
    """
    name = words[0].partition("=")[0]
    way_out = f"; an option of sbatch's that is not among them: --extra-sbatch={words[0]}" if with_slurm else ""
    raise ConfigError(f"unknown option {name}; {did_you_mean(name, [*(FLAGS if with_slurm else ()), *known])}{way_out}")


def _yaml(name: str, values: list[str]) -> str:
    kind = KINDS[name]
    if get_origin(kind) is tuple:
        return write(values)
    if get_origin(kind) is Mapping:
        pairs = [value.partition("=") for value in values]
        return write({key: value for key, _, value in pairs})
    is_text = kind == (str | None)
    return write(values[-1]) if is_text else values[-1]
