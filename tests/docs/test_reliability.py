"""The catalogue of faults is whole, and every test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text()
ROWS = {int(row[1]): row for row in re.finditer(r"^\| (\d+) \| .*? \| (.*?) \| (.*?) ?\|$", PAGE, re.MULTILINE)}
NUM_FAULTS = 66


def test_every_fault_has_a_row_with_a_test_or_a_word() -> None:
    assert sorted(ROWS) == list(range(1, NUM_FAULTS + 1))
    assert [number for number, row in ROWS.items() if "::" not in row[3] and not re.search(r"[Nn]o test|[Nn]ot tested", row[2])] == []


def test_every_test_it_names_is_there() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > NUM_FAULTS
    missing = [f"{file}::{name}" for file, name in named if f"\ndef test_{name}(" not in (TESTS / file).read_text()]
    assert missing == []
