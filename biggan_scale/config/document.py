"""Writes docs/config.md from the config dataclasses themselves: `python -m biggan_scale.config.document`.

The documentation of a field is the comment at the end of its line. Components are found as the loader finds them, so a new file
in games/, networks/ or latent/ is documented by being there; a test compares the page with what this would write.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import io
import tokenize
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from biggan_scale.config import component, tree, typed
from biggan_scale.config.component import Part, Reference
from biggan_scale.config.duration import IMAGES, SECONDS, Duration
from biggan_scale.config.schedule import Schedule
from biggan_scale.config.schema import RunConfig

PAGE = component.ROOT.parent / "docs" / "config.md"

HEAD = f"""# Configuration

Written by `python -m biggan_scale.config.document` from the config dataclasses; change those, not this.

A configuration is a YAML mapping with the keys below. `biggan-scale train PAGE --print-config` shows all of one, and where each
value is from. On the command line, `optim.G.lr=1e-4` sets one value, `game.type=NAME` takes another component.

- **base**: a page, or a list of pages, to start from: a path relative to the page, or a name like `base/biggan`. Mappings are merged
  key by key, later pages over earlier, the page itself on top; any other value is replaced.
- **type** chooses a component by the name of its file: `game: {{type: gan}}` is `biggan_scale/games/gan.py`. The keys beside it are that
  component's. A mapping with another `type` replaces the one below it whole: settings of one component never reach another.
- **duration**: a number and a unit, like `200 kimg`, `40 rounds`, `3 h`: {", ".join(IMAGES)}; rounds; {", ".join(SECONDS)}.
- **schedule**: a number, or `{{from: 2e-4, to: 0, start: 10 Mimg, end: 20 Mimg, shape: linear}}`: `from` until `start` (0 img if not
  given), `to` from `end` on, between them by `shape`: linear, cosine, exponential, or step (at `end`).

YAML here is YAML 1.2's core: `1e-4` is a number, `on` and `yes` are text. Anchors, aliases, merge keys and tags are refused.
"""

_WORDS = {bool: "true, false", int: "whole number", float: "number", str: "text", Duration: "duration", Schedule: "schedule"}

_SCALARS = (Part, Duration, Schedule)  # dataclasses that are a value, not a section


def text() -> str:
    """The page."""
    references: list[Reference] = []
    written = [HEAD, *_chapter("## The page", RunConfig.__doc__ or "", RunConfig, references)]
    for reference in references:  # grows: components ask for components
        written.append(f"## {reference.package}{f': {reference.role}' if reference.role else ''}\n")
        for choice in reference.choices():
            kind = reference.config_class(choice)
            written += _chapter(f"### `type: {choice}`", _purpose(_file(kind)), kind, references)
    return "\n".join(written)


def field_docs(kind: type) -> dict[str, str]:
    """The comment at the end of each field's line, by field; inherited fields too."""
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base):
            comments, definition = _comments(_file(base)), component.definition(_file(base), base.__name__)
            fields = [statement for statement in definition.body if isinstance(statement, ast.AnnAssign)]
            docs |= {ast.unparse(field.target): comments.get(field.end_lineno or 0, "") for field in fields}
    return {field.name: docs[field.name] for field in dataclasses.fields(kind)}


def _sections(kind: type, key: str = "") -> Iterator[tuple[str, type]]:
    """A dataclass and the ones in it, with their dotted keys."""
    yield key, kind
    prefix = f"{key}." if key else ""
    for name, annotation in typed.field_kinds(kind).items():
        of_each = typing.get_origin(annotation) is Mapping
        inner = typing.get_args(annotation)[1] if of_each else annotation
        if isinstance(inner, type) and dataclasses.is_dataclass(inner) and inner not in _SCALARS:
            yield from _sections(inner, f"{prefix}{name}{'.NAME' * of_each}")


def _chapter(title: str, purpose: str, kind: type, references: list[Reference]) -> Iterator[str]:
    """A dataclass and the ones in it. What components they ask for is added to `references`."""
    hashes = title.split(" ")[0]
    for key, section in _sections(kind):
        yield _section(f"{hashes} `{key}`", section.__doc__ or "", section) if key else _section(title, purpose, section)
        parts = [field.metadata["part"] for field in dataclasses.fields(section) if "part" in field.metadata]
        references += [reference for reference in dict.fromkeys(parts) if reference not in references]


def _section(title: str, purpose: str, kind: type) -> str:
    kinds, docs = typed.field_kinds(kind), field_docs(kind)
    rows = [
        f"| `{field.name}` | {_allowed(kinds[field.name], field)} | {_default(field)} | {docs[field.name]} |\n".replace("||", r"\|\|")
        for field in dataclasses.fields(kind)
    ]
    table = "| key | value | default | |\n|---|---|---|---|\n" + "".join(rows) if rows else "No settings.\n"
    return f"{title}\n\n{purpose}\n\n{table}"


def _allowed(kind: Any, field: dataclasses.Field[Any]) -> str:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if arg is type(None) else _allowed(arg, field) for arg in args)
    if origin is typing.Literal:
        return ", ".join(f"`{tree.write(arg)}`" for arg in args)
    if origin is tuple:
        return f"list of {_allowed(args[0], field)}s" if args[-1] is ... else f"[{', '.join(_allowed(arg, field) for arg in args)}]"
    if kind is Part:
        reference = field.metadata["part"]
        return f"component of {reference.package}{f' ({reference.role})' if reference.role else ''}"
    return _WORDS.get(kind, "mapping, see below")


def _default(field: dataclasses.Field[Any]) -> str:
    if typed.required(field):
        return "**required**"
    if field.default is dataclasses.MISSING:
        return ""  # a section; its fields show theirs
    return f"`{tree.write(typed.untyped(field.default))}`"


def _file(kind: type) -> Path:
    return component.source_file(kind.__module__.removesuffix(component.MIRROR))


def _purpose(file: Path) -> str:
    """The first paragraph of a file's docstring."""
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n\n")[0]


@functools.cache
def _comments(file: Path) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(file.read_text(encoding="utf-8")).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
