"""YAML text as a tree that remembers where each value stands.

A small YAML on purpose: mappings, lists and scalars of YAML 1.2's core schema, so `1e-4` is a number and `on` is a word.
Anchors, aliases, merge keys and tags are refused, duplicate keys too; size, depth and number of values are limited before
anything is built, so that a few hundred bytes cannot cost more than a few hundred bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from biggan_scale.config.errors import ConfigError

COMMAND_LINE = "command line"  # the place of overrides
MAX_BYTES = 256 * 1024
MAX_DEPTH = 50
MAX_VALUES = 10_000

_INT = re.compile(r"[-+]?[0-9]{1,40}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {"": None, "null": None, "~": None, "true": True, "True": True, "false": False, "False": False}


@dataclass(frozen=True)
class Node:
    """A value and where it was written. Values: None, bool, int, float, str, list[Node], dict[str, Node]."""

    value: Any
    where: str  # "configs/tiny.yaml:12", "command line"

    @property
    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: node.plain for key, node in self.value.items()}
        return [node.plain for node in self.value] if isinstance(self.value, list) else self.value


def located(value: Any, where: str) -> Node:
    """A plain value as a tree that stands, all of it, in one place."""
    if isinstance(value, dict):
        return Node({str(key): located(item, where) for key, item in value.items()}, where)
    return Node([located(item, where) for item in value] if isinstance(value, (list, tuple)) else value, where)


def read(content: bytes, source: str, problems: list[str], numbered: bool = True) -> Node:
    """The tree of a YAML document. Duplicate keys go to `problems`, what makes it unreadable is raised as ConfigError.

    Args:
        source: its name, for messages; `numbered` adds the line.
    """
    return _Reader(content, source, problems, numbered).document()


def merge(under: Node, over: Node) -> Node:
    """`over` laid on `under`: mappings key by key, anything else replaced - a mapping with another `type` too."""
    if not isinstance(under.value, dict) or not isinstance(over.value, dict):
        return over
    if {"type"} <= under.value.keys() & over.value.keys() and under.value["type"].value != over.value["type"].value:
        return over
    merged = {key: merge(node, over.value[key]) if key in over.value else node for key, node in under.value.items()}
    where = under.where if over.where == COMMAND_LINE else over.where  # of what is missing, say which page lacks it
    return Node(merged | {key: node for key, node in over.value.items() if key not in merged}, where)


def write(value: Any) -> str:
    """A plain value as YAML on one line, which we and YAML 1.1 readers read back as exactly the same."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{write(key)}: {write(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(write(item) for item in value) + "]"
    ours = isinstance(value, str) and (scalar(value) != value or not value.isprintable())  # 1e-4: a number here, text in YAML 1.1
    style = '"' if ours else None
    return yaml.safe_dump([value], default_style=style, default_flow_style=True, allow_unicode=True, width=math.inf)[1:-2]


def scalar(text: str) -> bool | int | float | str | None:
    """The value of an unquoted word."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


class _Reader:
    """From the parser's events, one pass, no recursion deeper than MAX_DEPTH."""

    def __init__(self, content: bytes, source: str, problems: list[str], numbered: bool) -> None:
        self.source, self.problems, self.numbered, self.num_values = source, problems, numbered, 0
        if len(content) > MAX_BYTES:
            raise ConfigError(f"{source}: larger than {MAX_BYTES} bytes, which a configuration may have")
        try:
            self.events: Iterator[Any] = yaml.parse(content.decode("utf-8"), Loader=yaml.SafeLoader)
        except UnicodeDecodeError as error:
            raise ConfigError(f"{source}: not UTF-8 text (byte {error.start})") from None

    def document(self) -> Node:
        try:
            next(self.events)  # the stream starts
            event = next(self.events)
            if isinstance(event, yaml.StreamEndEvent):
                return Node({}, self.where(event))
            root = self.node(next(self.events), depth=1)
            next(self.events)  # the document ends
            event = next(self.events)
            if not isinstance(event, yaml.StreamEndEvent):
                raise self.error(event, "a second document; a file holds one")
            return root
        except yaml.MarkedYAMLError as error:
            context = f"{error.context}: " if error.context else ""
            raise ConfigError(f"{self.place(error.problem_mark)}: not valid YAML: {context}{error.problem}") from None
        except yaml.reader.ReaderError as error:
            raise ConfigError(f"{self.source}: not valid YAML: character #x{error.character:02x}") from None

    def node(self, event: Any, depth: int) -> Node:
        self.refuse_machinery(event)
        self.num_values += 1
        if self.num_values > MAX_VALUES:
            raise self.error(event, f"more than {MAX_VALUES} values")
        if depth > MAX_DEPTH:
            raise self.error(event, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.MappingStartEvent):
            return Node(self.mapping(depth), self.where(event))
        if isinstance(event, yaml.SequenceStartEvent):
            return Node(self.sequence(depth), self.where(event))
        return Node(scalar(event.value) if event.style is None else event.value, self.where(event))

    def sequence(self, depth: int) -> list[Node]:
        items = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self.node(event, depth + 1))
        return items

    def mapping(self, depth: int) -> dict[str, Node]:
        found: dict[str, Node] = {}
        places: dict[str, str] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            self.refuse_machinery(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise self.error(event, "a key must be one word")
            if event.value == "<<" and event.style is None:
                raise self.error(event, "merge keys ('<<') are not allowed; 'base:' takes another page as a start")
            if event.value in found:
                self.problems.append(f"{self.where(event)}: key '{event.value}' is given twice, first at {places[event.value]}")
            places[event.value] = self.where(event)
            found[event.value] = self.node(next(self.events), depth + 1)
        return found

    def refuse_machinery(self, event: Any) -> None:
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise self.error(event, "anchors and aliases are not allowed; write the value out")
        if event.tag is not None:
            raise self.error(event, f"tags like '{event.tag}' are not allowed")

    def where(self, event: Any) -> str:
        return self.place(event.start_mark)

    def place(self, mark: Any) -> str:
        return f"{self.source}:{mark.line + 1}" if self.numbered and mark is not None else self.source

    def error(self, event: Any, message: str) -> ConfigError:
        return ConfigError(f"{self.where(event)}: {message}")
