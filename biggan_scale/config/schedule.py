"""A number that changes with the images seen: a learning rate, a weight, a probability.

A constant is written as a number. A change is written as a mapping, and is a pure function of the clock:

    lr: {from: 2e-4, to: 1e-5, start: 10 Mimg, end: 20 Mimg, shape: cosine}

It is `from` until `start` and `to` from `end` on; `shape` says how it goes between them. `step` waits, and jumps at `end`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from biggan_scale.config.duration import Duration


@dataclass(frozen=True)
class Schedule:
    """A value as a function of the number of images seen. (`from_` is `from` in YAML, which Python keeps for itself.)"""

    from_: float  # value until `start`
    to: float  # value from `end` on
    end: Duration  # when `to` is reached
    start: Duration = Duration(0, "img")  # when the change begins
    shape: Literal["linear", "cosine", "exponential", "step"] = "linear"  # the way between them

    def __post_init__(self) -> None:
        if self.start.seconds() is not None or self.end.seconds() is not None:
            raise ValueError("a schedule counts images or rounds, not time")
        if self.shape == "exponential" and min(self.from_, self.to) <= 0:
            raise ValueError("shape exponential needs from and to above 0")

    @classmethod
    def constant(cls, value: float) -> Schedule:
        """The schedule that never changes."""
        return cls(value, value, end=Duration(0, "img"))

    @property
    def is_constant(self) -> bool:
        return self == Schedule.constant(self.from_)

    def at(self, nimg: int, images_per_round: int) -> float:
        """The value after `nimg` images, in a run whose rounds consume `images_per_round` each."""
        start, end = self.start.images(images_per_round), self.end.images(images_per_round)
        assert start is not None and end is not None, "a schedule of images has no end in seconds"
        if nimg >= end:
            return self.to
        if nimg <= start or self.shape == "step":
            return self.from_
        t = (nimg - start) / (end - start)  # 0 .. 1
        if self.shape == "exponential":
            return self.from_ * (self.to / self.from_) ** t
        if self.shape == "cosine":
            t = (1 - math.cos(math.pi * t)) / 2
        return self.from_ + (self.to - self.from_) * t
