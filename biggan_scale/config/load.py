"""From a page, its bases and the command line to a `RunConfig`, and back to YAML.

A page may start from others: `base: base/run.yaml`, or a list of them, later ones over earlier, the page itself on top. The
command line comes last: `optim.G.lr=1e-4`. See `tree.merge` for what "over" means, `typed` for how values are checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from biggan_scale.config import pages, tree, typed
from biggan_scale.config.errors import ConfigError
from biggan_scale.config.schema import RunConfig
from biggan_scale.config.tree import COMMAND_LINE, Node

COMMENT_COLUMN = 60  # of a printed page; longer lines push their comments further


@dataclass(frozen=True)
class Loaded:
    """A configuration, and where each of its values comes from."""

    config: RunConfig
    origins: Mapping[str, str]  # dotted key of every value -> "configs/tiny.yaml:12", "command line" or "default"

    @property
    def tree(self) -> dict[str, Any]:
        """The whole configuration, defaults too, as dicts, lists and scalars."""
        return to_tree(self.config)

    def to_yaml(self, origins: bool = False) -> str:
        """The whole configuration as a page that loads to the same; with the origin of each value as a comment."""
        lines = [(line, f"  # {self.origins[key]}" if origins and key in self.origins else "") for line, key in _lines(self.tree)]
        width = min(max(len(line) for line, _ in lines), COMMENT_COLUMN)
        return "".join(f"{line:{width if comment else 0}}{comment}\n" for line, comment in lines)


def load_config(page_or_path: str, overrides: Sequence[str] = ()) -> Loaded:
    """Reads a page and what it is based on, applies the overrides, and checks everything.

    Args:
        page_or_path: a YAML file, or the name of a page in configs/.
        overrides: "dotted.key=value", the value in YAML.

    Raises:
        ConfigError: with all problems, one a line, each with its place.
    """
    problems: list[str] = []
    root = _page(pages.find(page_or_path), problems, done={}, under_way=())
    root = tree.merge(root, reduce(tree.merge, (_override(text, problems) for text in overrides), Node({}, root.where)))
    config = _checked(root, problems)
    return Loaded(config, {key: _origin(root, key) for key in _leaves(to_tree(config))})


def config_from_tree(plain: Mapping[str, Any], where: str) -> RunConfig:
    """The configuration `to_tree` made this of; `where` names the file it was kept in, for errors."""
    return _checked(tree.located(dict(plain), where), [])


def to_tree(config: RunConfig) -> dict[str, Any]:
    """A configuration as dicts, lists and scalars, for YAML or JSON."""
    return typed.untyped(config)


def _checked(root: Node, problems: list[str]) -> RunConfig:
    config = typed.typed(RunConfig, root, "", problems)
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def _page(path: Path, problems: list[str], done: dict[Path, Node], under_way: tuple[Path, ...]) -> Node:
    """A page over its bases. `done` holds pages already read, so that many bases in common cost no more than one."""
    if path in under_way:
        raise ConfigError(f"{_name(under_way[-1])}: base goes round in a loop: {' -> '.join(_name(page) for page in (*under_way, path))}")
    if path not in done:
        page = _mapping(_contents(path), _name(path), problems)
        bases = _bases(page, path, problems)
        own = Node({key: node for key, node in page.value.items() if key != "base"}, page.where)
        done[path] = reduce(tree.merge, [*(_page(base, problems, done, (*under_way, path)) for base in bases), own])
    return done[path]


def _contents(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(tree.MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{_name(path)}: {error.strerror}") from None


def _mapping(content: bytes, source: str, problems: list[str]) -> Node:
    page = tree.read(content, source, problems)
    if not isinstance(page.value, dict):
        raise ConfigError(f"{page.where}: expected a mapping of keys to values, got {typed.shown(page.value)}")
    return page


def _bases(page: Node, path: Path, problems: list[str]) -> list[Path]:
    base = page.value.get("base", Node([], page.where))
    found = []
    for node in base.value if isinstance(base.value, list) else [base]:
        if isinstance(node.value, str):
            try:
                found.append(pages.find(node.value, beside=path.parent))
            except ConfigError as error:
                problems.append(f"{node.where}: base: {error}")
        else:
            problems.append(f"{node.where}: base: expected a page or a list of pages, got {typed.shown(node.value)}")
    return found


def _override(text: str, problems: list[str]) -> Node:
    """The tree that holds the one value of "dotted.key=value"."""
    key, equals, value = text.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigError(f"{COMMAND_LINE}: '{text}' is not key=value, like batch_size=64")
    node = tree.read(value.encode(), COMMAND_LINE, problems, numbered=False) if value else Node(None, COMMAND_LINE)
    for name in reversed(key.split(".")):
        node = Node({name: node}, COMMAND_LINE)
    return node


def _origin(root: Node, key: str) -> str:
    """Where the value of a dotted key stands in the tree it was built from."""
    node = root
    for name in key.split("."):
        if not isinstance(node.value, dict) or name not in node.value:
            return "default"
        node = node.value[name]
    return node.where


def _leaves(plain: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in plain.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _lines(plain: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The lines of a block of YAML, each with its dotted key."""
    indent = "  " * prefix.count(".")
    for key, value in plain.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{tree.write(key)}:", f"{prefix}{key}"
            yield from _lines(value, f"{prefix}{key}.")
        else:
            yield f"{indent}{tree.write(key)}: {tree.write(value)}", f"{prefix}{key}"


def _name(path: Path) -> str:
    """A file as the user would write it from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
