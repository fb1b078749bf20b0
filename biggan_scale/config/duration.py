"""How long: "200 kimg", "40 rounds", "3 h". Everything that happens every so often, or until then, says so in these words.

Images and rounds are the clock of a run (a round is a fixed number of images), so durations in them mean the same on every
machine. Seconds and their kin are for what protects against the machine: checkpoints.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import ClassVar

IMAGES = {"img": 1, "kimg": 1_000, "Mimg": 1_000_000}
SECONDS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}
UNITS = (*IMAGES, "rounds", *SECONDS)


@dataclass(frozen=True)
class Duration:
    """A number of images, rounds or seconds, in the unit it was written in."""

    FORM: ClassVar[str] = f"a number and one of {', '.join(UNITS)}, like '200 kimg'"

    value: float
    unit: str

    def __post_init__(self) -> None:
        if self.unit not in UNITS or not math.isfinite(self.value) or self.value < 0:
            raise ValueError(f"{self.value} {self.unit} is not a duration: {self.FORM}")

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Reads "200 kimg"; ValueError says what a duration looks like."""
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?(?:[eE]\+?\d+)?)\s*([A-Za-z]+)\s*", text)
        if match is None or match[2] not in UNITS:
            raise ValueError(f"'{text}' is not a duration: {cls.FORM}")
        return cls(float(match[1]), match[2])

    def __str__(self) -> str:
        return f"{int(self.value) if float(self.value).is_integer() else self.value} {self.unit}"

    def images(self, images_per_round: int) -> int | None:
        """The duration in images, to the nearest; None if it is one of wall time."""
        if self.unit in SECONDS:
            return None
        return round(self.value * IMAGES.get(self.unit, images_per_round))

    def seconds(self) -> float | None:
        """The duration in seconds; None if it is one of images."""
        return self.value * SECONDS[self.unit] if self.unit in SECONDS else None
