"""The YAML we read: what values mean, what is refused and at what cost, and that what we write is read back."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from biggan_scale.config import ConfigError, tree
from biggan_scale.config.tree import Node


def read(text: str) -> Any:
    problems: list[str] = []
    node = tree.read(text.encode(), "a.yaml", problems)
    assert not problems
    return node.plain


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("5.0e-5", 5e-5),
        ("-.5", -0.5),
        ("12", 12),
        ("-3", -3),
        ("010", 10),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("true", True),
        ("yes", "yes"),
        ("on", "on"),
        ("NO", "NO"),
        ("null", None),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ('"true"', "true"),
        (".inf", ".inf"),
        (".nan", ".nan"),
    ],
)
def test_words_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    found = read(f"key: {text}")["key"]
    assert (type(found), found) == (type(value), value)


def test_keys_stay_text() -> None:
    assert read("{on: 1, yes: 2, 3: 4, null: 5, 1e-4: 6}") == {"on": 1, "yes": 2, "3": 4, "null": 5, "1e-4": 6}


def test_every_value_knows_its_line() -> None:
    root = tree.read(b"# head\na: 1\nb:\n  c: [2,\n    3]\n", "a.yaml", [])
    assert root.value["a"].where == "a.yaml:2"
    assert [item.where for item in root.value["b"].value["c"].value] == ["a.yaml:4", "a.yaml:5"]


def test_empty_document_is_an_empty_mapping() -> None:
    assert read("") == read("# only a comment\n") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x 1\nb: *x", "a.yaml:1: anchors and aliases are not allowed; write the value out"),
        ("a: 1\nb: *x", "a.yaml:2: anchors and aliases are not allowed; write the value out"),
        ("<<: {a: 1}", "a.yaml:1: merge keys ('<<') are not allowed; 'base:' takes another page as a start"),
        ("a: !!python/name:os.system x", "a.yaml:1: tags like 'tag:yaml.org,2002:python/name:os.system' are not allowed"),
        ("a: !!float 1", "a.yaml:1: tags like 'tag:yaml.org,2002:float' are not allowed"),
        ("a: 1\n---\nb: 2", "a.yaml:2: a second document; a file holds one"),
        ("[a]: 1", "a.yaml:1: a key must be one word"),
        ("a:\n b: 1\n  c: 2", "a.yaml:3: not valid YAML: mapping values are not allowed here"),
        ("a: 1\n\tb: 2", "a.yaml:2: not valid YAML: while scanning for the next token: found character '\\t' that cannot start any token"),
        ("a: \x00", "a.yaml: not valid YAML: character #x00"),
        ("[" * 500, "a.yaml:1: nested deeper than 50 levels"),
        ("- " * 500, "a.yaml:1: nested deeper than 50 levels"),
        ("[" + "1," * 20_000 + "]", "a.yaml:1: more than 10000 values"),
        ("a: " + "x" * tree.MAX_BYTES, f"a.yaml: larger than {tree.MAX_BYTES} bytes, which a configuration may have"),
    ],
    ids=lambda text: text[:12],
)
def test_what_is_no_configuration_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value) == message


def test_fifty_levels_are_enough() -> None:
    deepest = "[" * tree.MAX_DEPTH + "]" * tree.MAX_DEPTH
    assert read(deepest)
    with pytest.raises(ConfigError, match="nested deeper"):
        read(f"[{deepest}]")


def test_text_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"a\.yaml: not UTF-8 text \(byte 3\)"):
        tree.read(b"a: \xff", "a.yaml", [])


def test_merge_key_bomb_costs_nothing() -> None:
    levels = [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 9)]
    bomb = "\n".join(["a0: &a0 {x: 1}", *levels])
    assert len(bomb) < 500
    began = time.process_time()
    with pytest.raises(ConfigError, match="anchors and aliases are not allowed"):
        read(bomb)
    assert time.process_time() - began < 10  # pyyaml alone takes minutes


def test_duplicate_keys_are_all_reported() -> None:
    problems: list[str] = []
    tree.read(b"a: 1\nb: {c: 1, c: 2}\na: 3", "a.yaml", problems)
    assert problems == [
        "a.yaml:2: key 'c' is given twice, first at a.yaml:2",
        "a.yaml:3: key 'a' is given twice, first at a.yaml:1",
    ]


def merged(under: Any, over: Any) -> Any:
    return tree.merge(tree.located(under, "under"), tree.located(over, "over")).plain


@pytest.mark.parametrize(
    ("under", "over", "result"),
    [
        ({"a": 1, "b": 2}, {"b": 3, "c": 4}, {"a": 1, "b": 3, "c": 4}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}, {"a": {"x": 1, "y": 3}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"x": 1}}, {"a": None}, {"a": None}),
        ({"g": {"type": "gan", "loss": "hinge"}}, {"g": {"type": "logan"}}, {"g": {"type": "logan"}}),
        ({"g": {"type": "gan", "loss": "hinge"}}, {"g": {"type": "gan", "d": 1}}, {"g": {"type": "gan", "loss": "hinge", "d": 1}}),
        ({"g": {"type": "gan", "loss": "hinge"}}, {"g": {"d": 1}}, {"g": {"type": "gan", "loss": "hinge", "d": 1}}),
    ],
)
def test_merging(under: Any, over: Any, result: Any) -> None:
    assert merged(under, over) == result


def test_merged_values_keep_their_places() -> None:
    root = tree.merge(tree.located({"a": 1, "b": 2}, "under"), tree.located({"b": 3}, "over"))
    assert root.value == {"a": Node(1, "under"), "b": Node(3, "over")}


SCALARS = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=5))
def test_what_is_written_is_read_back(value: Any) -> None:
    text = f"key: {tree.write(value)}"
    assert len(text.split("\n")) == 1
    assert repr(read(text)["key"]) == repr(value)  # 1 is not 1.0 nor True
    assert repr(yaml.safe_load(text)["key"]) == repr(value)  # and any other reader of YAML agrees


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=40) | st.text(alphabet="{}[]:,- \n\t'\"&*!|>%@`#?a1.<~", max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused_in_one_line(content: bytes) -> None:
    try:
        tree.read(content, "a.yaml", [])
    except ConfigError as error:
        assert len(str(error).splitlines()) == 1
