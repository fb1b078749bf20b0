"""From a tree to frozen dataclasses and back, by the annotations of their fields. All problems are collected.

A dataclass may check itself: a ConfigError or ValueError from its `__post_init__`, one problem a line, is reported with its place.
A line that begins with a field's name is shown at that field, under its full key: "a.yaml:9: data.workers -1 must be 0 or more".
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Container, Mapping
from typing import Any

from biggan_scale.config.component import Part, Reference
from biggan_scale.config.duration import Duration
from biggan_scale.config.errors import ConfigError, did_you_mean
from biggan_scale.config.schedule import Schedule
from biggan_scale.config.tree import Node, write

BAD = object()  # stands where a value should be that has been complained about
_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Duration: Duration.FORM,
    Schedule: "a number, or a mapping with from, to, end",
    Part: "a mapping with the key 'type'",
}


def typed(kind: Any, node: Node, key: str, problems: list[str], reference: Reference | None = None) -> Any:
    """The value of a node as the annotation `kind` asks; BAD after adding to `problems`.

    Args:
        key: dotted name of the value, for messages.
        reference: which components a `Part` in `kind` may be.
    """
    origin, value = typing.get_origin(kind), node.value
    if origin in (typing.Union, types.UnionType):
        return _union(kind, node, key, problems, reference)
    if origin is tuple and isinstance(value, list):
        return _tuple(kind, node, key, problems, reference)
    if origin is Mapping and isinstance(value, dict):
        item_kind = typing.get_args(kind)[1]
        items = {name: typed(item_kind, item, f"{key}.{name}", problems, reference) for name, item in value.items()}
        return BAD if BAD in items.values() else items
    if origin is typing.Literal and type(value) in map(type, typing.get_args(kind)) and value in typing.get_args(kind):
        return value
    if kind is Duration and isinstance(value, str):
        return _duration(node, key, problems)
    if kind is Schedule and _is_number(value):
        return Schedule.constant(float(value))
    if kind is Part and isinstance(value, dict):
        assert reference is not None, f"{key}: declare the field of a Part with part(...)"
        return _part(reference, node, key, problems)
    if dataclasses.is_dataclass(kind) and kind not in (Duration, Part) and isinstance(value, dict):
        return _dataclass(kind, node, key, problems)
    if kind is float and _is_number(value):
        return float(value)
    if kind in (bool, int, str) and type(value) is kind:
        return value
    quoted = kind is str and isinstance(value, (bool, int, float))
    hint = f"; text that reads as something else goes in quotes: '{write(value)}'" if quoted else ""
    problems.append(f"{node.where}: {key}: expected {describe(kind)}, got {shown(value)}{hint}")
    return BAD


def untyped(value: Any) -> Any:
    """What `typed` reads back as `value`: dicts, lists and scalars."""
    if isinstance(value, Part):
        return {"type": value.type} | untyped(value.config)
    if isinstance(value, Duration):
        return str(value)
    if isinstance(value, Schedule) and value.is_constant:
        return value.to
    if dataclasses.is_dataclass(value):
        return {_yaml_name(field): untyped(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: untyped(item) for key, item in value.items()}
    return [untyped(item) for item in value] if isinstance(value, tuple) else value


def describe(kind: Any) -> str:
    """What an annotation allows, in words."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if arg is type(None) else describe(arg) for arg in args)
    if origin is typing.Literal:
        return f"one of {', '.join(write(arg) for arg in args)}" if len(args) > 1 else write(args[0])
    if origin is tuple:
        return f"a list{'' if args[-1] is ... else f' of {len(args)}'}, each {describe(args[0])}"
    return _NAMES.get(kind, "a mapping")


def field_kinds(kind: type) -> dict[str, Any]:
    """The annotation of each field of a dataclass, evaluated. (Python 3.10 cannot evaluate the bare ClassVar beside them.)"""
    names = {field.name for field in dataclasses.fields(kind)}
    kinds: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        annotations = {name: text for name, text in inspect.get_annotations(base).items() if name in names}
        kinds |= typing.get_type_hints(types.SimpleNamespace(__annotations__=annotations), vars(sys.modules[base.__module__]))
    return kinds


def required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _union(kind: Any, node: Node, key: str, problems: list[str], reference: Reference | None) -> Any:
    """null where it is allowed, or the first alternative that fits; the complaint of an only alternative says most."""
    alternatives = [arg for arg in typing.get_args(kind) if arg is not type(None)]
    if node.value is None and type(None) in typing.get_args(kind):
        return None
    if len(alternatives) == 1:
        return typed(alternatives[0], node, key, problems, reference)
    for alternative in alternatives:
        value = typed(alternative, node, key, [], reference)
        if value is not BAD:
            return value
    problems.append(f"{node.where}: {key}: expected {describe(kind)}, got {shown(node.value)}")
    return BAD


def _tuple(kind: Any, node: Node, key: str, problems: list[str], reference: Reference | None) -> Any:
    kinds = typing.get_args(kind)
    if kinds[-1] is ...:
        kinds = kinds[:1] * len(node.value)
    if len(kinds) != len(node.value):
        problems.append(f"{node.where}: {key}: expected {describe(kind)}, got {len(node.value)} values")
        return BAD
    items = [typed(kind, item, f"{key}[{i}]", problems, reference) for i, (kind, item) in enumerate(zip(kinds, node.value, strict=True))]
    return BAD if BAD in items else tuple(items)


def _duration(node: Node, key: str, problems: list[str]) -> Any:
    try:
        return Duration.parse(node.value)
    except ValueError as error:
        problems.append(f"{node.where}: {key}: {error}")
        return BAD


def _part(reference: Reference, node: Node, key: str, problems: list[str]) -> Any:
    choices = reference.choices()
    home = f"biggan_scale/{reference.package} has"
    chosen = node.value.get("type")
    if chosen is None:
        problems.append(f"{node.where}: missing key '{key}.type'; {home}: {', '.join(choices)}")
        return BAD
    if chosen.value not in choices:
        problems.append(f"{chosen.where}: unknown {key}.type {shown(chosen.value)}; {did_you_mean(str(chosen.value), choices, home)}")
        return BAD
    settings = Node({name: item for name, item in node.value.items() if name != "type"}, node.where)
    config = _dataclass(reference.config_class(chosen.value), settings, key, problems, also=("type",))
    return BAD if config is BAD else Part(reference.package, reference.role, chosen.value, config)


def _dataclass(kind: Any, node: Node, key: str, problems: list[str], also: tuple[str, ...] = ()) -> Any:
    """`also`: keys that were allowed beside the fields, and have been taken out of the node."""
    before = len(problems)
    prefix = f"{key}." if key else ""
    kinds = field_kinds(kind)
    fields = {_yaml_name(field): field for field in dataclasses.fields(kind)}
    values = {}
    for name, item in node.value.items():
        if name in fields:
            field = fields[name]
            values[field.name] = typed(kinds[field.name], item, prefix + name, problems, field.metadata.get("part"))
        else:
            problems.append(f"{item.where}: unknown key '{prefix}{name}'; {did_you_mean(name, [*fields, *also])}")
    for name, field in fields.items():
        if required(field) and name not in node.value:
            problems.append(f"{node.where}: missing key '{prefix}{name}': {describe(kinds[field.name])}")
    if len(problems) > before:
        return BAD
    try:
        return kind(**values)
    except (ValueError, ConfigError) as error:
        problems += [_placed(line, node, key, fields) for line in str(error).splitlines() or [repr(error)]]
        return BAD


def _placed(line: str, node: Node, key: str, fields: Container[str]) -> str:
    """What a dataclass says of itself, at the field it begins with."""
    word = line.split(" ")[0]
    place = node.value.get(word, node).where
    separator = "." if word in fields else ": "
    return f"{place}: {key}{separator if key else ''}{line}"


def _yaml_name(field: dataclasses.Field[Any]) -> str:
    """`from_` in Python is `from` in YAML."""
    return field.name.removesuffix("_")


def _is_number(value: Any) -> bool:
    """A number that a float holds: neither infinite nor NaN."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def shown(value: Any) -> str:
    """A value in a message: short, on one line."""
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value) if isinstance(value, str) else write(value)
    return text if len(text) <= 60 else f"{text[:56]}...{text[-1]}"
