"""Which rank holds the others up? Every rank's own time per round, without what it spends waiting for others, beside the median."""

from __future__ import annotations

import statistics
import time

import torch
import torch.distributed as dist

from biggan_scale.dist import process_group, waiting


class Stragglers:
    """Args:
    ratio: of a rank's own time to the median rank's, from which on it is named.
    """

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._named: int | None = None
        self._mark = self._now()

    def since_last(self, rounds: int) -> tuple[float, str]:
        """The slowest rank's ratio over the rounds since the last call, and a line the first time it is over the limit. All ranks call."""
        (before, waited_before), self._mark = self._mark, self._now()
        own = (self._mark[0] - before) - (self._mark[1] - waited_before)
        per_round = [own / max(rounds, 1) for own in _of_all_ranks(own)]
        typical = statistics.median_low(per_round)
        slowest = max(range(len(per_round)), key=per_round.__getitem__)
        ratio = per_round[slowest] / max(typical, 1e-9)
        named, self._named = self._named, slowest if ratio >= self._ratio else None
        if self._named is None or self._named == named:
            return ratio, ""
        return ratio, (
            f"rank {slowest} is slow: {per_round[slowest]:.3g} s of its own a round, {ratio:.1f}x the median rank's {typical:.3g} s; "
            "the others wait for it"
        )

    def _now(self) -> tuple[float, float]:
        return time.perf_counter(), waiting.seconds()


def _of_all_ranks(value: float) -> list[float]:
    if process_group.world() == 1:
        return [value]
    values = torch.zeros(process_group.world(), dtype=torch.float64)
    values[process_group.rank()] = value
    dist.all_reduce(values)
    return values.tolist()
