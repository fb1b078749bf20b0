"""The records of a run, however many, as lines short enough to draw.

A line is at most `2 * STRETCHES` stretches of equally many records, of which mean and extremes are kept: a spike of one record in a
million is still seen. It is made in one pass, and its size does not grow with the run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

STRETCHES = 150
CLOCK = ("nimg", "kimg", "round")  # where a record is, not what it says


@dataclass
class Stretch:
    """Consecutive records: the clock at the last of them, and what their values were. `low` to `high` is empty without finite ones."""

    nimg: int
    records: int = 0
    total: float = 0.0
    finite: int = 0
    low: float = math.inf
    high: float = -math.inf

    def add(self, nimg: int, value: float | None) -> None:
        self.nimg = nimg
        self.records += 1
        if value is not None and math.isfinite(value):
            self.total += value
            self.finite += 1
            self.low, self.high = min(self.low, value), max(self.high, value)

    def merge(self, later: Stretch) -> None:
        self.nimg = later.nimg
        self.records += later.records
        self.total += later.total
        self.finite += later.finite
        self.low, self.high = min(self.low, later.low), max(self.high, later.high)

    @property
    def mean(self) -> float:
        return self.total / self.finite if self.finite else math.nan


@dataclass
class Series:
    """One number of a run, over its clock. `last` is None where the last record's is not finite."""

    name: str
    stretches: list[Stretch] = field(default_factory=list)
    last: float | None = None
    _records_each: int = 1

    def add(self, nimg: int, value: float | None) -> None:
        if not self.stretches or self.stretches[-1].records == self._records_each:
            if len(self.stretches) == 2 * STRETCHES:
                self._halve()
            self.stretches.append(Stretch(nimg))
        self.stretches[-1].add(nimg, value)
        self.last = value

    @property
    def low(self) -> float:
        return min(stretch.low for stretch in self.stretches)

    @property
    def high(self) -> float:
        return max(stretch.high for stretch in self.stretches)

    @property
    def not_finite(self) -> int:
        """How many records were not."""
        return sum(stretch.records - stretch.finite for stretch in self.stretches)

    def _halve(self) -> None:
        for earlier, later in zip(self.stretches[::2], self.stretches[1::2], strict=True):
            earlier.merge(later)
        self.stretches = self.stretches[::2]
        self._records_each *= 2


def read(records: Iterable[Mapping[str, Any]]) -> dict[str, Series]:
    """A line for each number of metrics.jsonl, by its name, in the order they come up. None is a value that was not finite."""
    found: dict[str, Series] = {}
    for record in records:
        nimg = record.get("nimg")
        if not isinstance(nimg, int):
            continue
        for name, value in record.items():
            if name not in CLOCK and (value is None or isinstance(value, (int, float))):
                found.setdefault(name, Series(name)).add(nimg, value)
    return found
