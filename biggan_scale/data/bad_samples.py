"""Images that could not be used while training: told, counted, and an error when they are more than a share."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from biggan_scale.config.errors import DataError

ALLOWANCE = 10  # bad samples that are no reason to stop, however few have been seen: a share of a handful says nothing
MOST_TOLD = 20  # then they are only counted


class BadSamples:
    """What one rank has met since it started.

    Args:
        max_share: an error beyond this share of the samples seen, plus ALLOWANCE; 0: the first one is an error.
        told: on stderr, the first MOST_TOLD; not where others read the same samples and tell.

    Attributes:
        num: how many were replaced, counted each time they came.
        num_seen: of how many.
    """

    def __init__(self, max_share: float, *, told: bool = True) -> None:
        self.max_share = max_share
        self.told = told
        self.num = 0
        self.num_seen = 0

    def count(self, num_seen: int, problems: Sequence[str]) -> None:
        """So many more samples were seen, and of these some were replaced: a message for each. Raises: DataError."""
        self.num_seen += num_seen
        for problem in problems:
            self.num += 1
            if self.max_share == 0:
                raise DataError(f"{problem.rpartition(' (sample')[0]}; data.max_bad_share is 0")
            if self.told and self.num <= MOST_TOLD:
                last = "; more of them are only counted" if self.num == MOST_TOLD else ""
                print(f"bad sample {self.num}: {problem}{last}", file=sys.stderr, flush=True)
        allowed = ALLOWANCE + int(self.max_share * self.num_seen)
        if problems and self.num > allowed:
            raise DataError(
                f"{self.num} of the {self.num_seen} samples since the start were bad, data.max_bad_share {self.max_share:g} allows "
                f"{allowed}; the last: {problems[-1]}"
            )
