"""Other projects' weights to ours, executing nothing. One file a project: `biggan-pytorch` is biggan_pytorch.py.

Each has `Overrides`, a dataclass of what its files do not say, and `to_game_state(path, overrides)`, which returns what an
export holds.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from biggan_scale.config import CheckpointError, ConfigError, tree
from biggan_scale.config.typed import typed


def sources() -> list[str]:
    """The projects whose weights can be read."""
    return sorted(file.stem.replace("_", "-") for file in Path(__file__).parent.glob("[!_]*.py"))


def import_checkpoint(path: str | Path, source: str, out: str | Path, overrides: Sequence[str] = ()) -> list[str]:
    """Read another project's weights and write them as an export folder.

    Args:
        path: a file or folder of that project.
        source: one of `sources()`.
        out: the folder to write; a non-empty one is replaced if it is an export.
        overrides: "key=value" for what the files do not say; keys are the fields of the importer's `Overrides`.

    Returns:
        Notes for the user: what was read, what was assumed.

    Raises:
        ConfigError: unknown source or override; nothing is at `path`.
        CheckpointError: the files cannot be read, or are not what they should be.
    """
    from biggan_scale.export.hub import write_export

    if source not in sources():
        raise ConfigError(f"--from {source}: unknown; allowed: {', '.join(sources())}")
    if not Path(path).exists():
        raise ConfigError(f"{path}: no such file or folder")
    importer = importlib.import_module(f"{__name__}.{source.replace('-', '_')}")
    config, states, notes = importer.to_game_state(Path(path), parse(importer.Overrides, overrides))
    if "G" not in states:
        raise CheckpointError(f"{path}: only a discriminator; an export holds the generator")
    write_export(out, config, {"G": states["G"]}, {"imported_from": source, "notes": notes})
    return notes


def parse(kind: type, overrides: Sequence[str]) -> Any:
    problems: list[str] = []
    given = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"{tree.COMMAND_LINE}: '{text}' is not key=value, like bn_eps=1e-4")
        given[key] = tree.read(value.encode(), tree.COMMAND_LINE, problems, numbered=False)
    parsed = typed(kind, tree.Node(given, tree.COMMAND_LINE), "", problems)
    if problems:
        raise ConfigError("\n".join(problems))
    return parsed
