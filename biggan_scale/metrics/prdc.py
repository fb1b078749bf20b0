"""Precision and recall, density and coverage: are the samples among the real ones, and the real ones among the samples?

Around every sample of a set lies a ball that reaches to its k-th nearest neighbour in the set; together they stand for the set.

    precision   share of generated samples inside some ball of a real one
    recall      share of real samples inside some ball of a generated one
    density     number of real balls a generated sample lies in, over k, on average; may exceed 1
    coverage    share of real samples whose ball holds a generated one

Precision and recall are thrown by single outliers, whose balls are large; density and coverage were made not to be.

Source: Kynkaanniemi et al. 2019, 1904.06991 (k = 3); Naeem et al. 2020, 2002.09797 (k = 5).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from biggan_scale.metrics.distances import Tick, blocks, nearest, no_tick

NUM_NEIGHBOURS = 5


class Prdc(NamedTuple):
    precision: float
    recall: float
    density: float
    coverage: float


def prdc(real: Tensor, fake: Tensor, k: int = NUM_NEIGHBOURS, tick: Tick = no_tick) -> Prdc:
    """(N, D) and (M, D) features with N, M > k."""
    real_radius, fake_radius = (nearest(f, f, k, is_same=True, tick=tick).distances[:, -1].square() for f in (real, fake))
    num_balls = torch.zeros(len(fake), dtype=torch.int64)  # of real samples, round each generated one
    is_recalled, is_covered = [], []
    for start, squared in blocks(real, fake, tick):  # (rows, M)
        inside = squared < real_radius[start : start + len(squared), None]
        num_balls += inside.sum(0)
        is_covered.append(inside.any(1))
        is_recalled.append((squared < fake_radius).any(1))
    return Prdc(
        precision=_share(num_balls > 0),
        recall=_share(torch.cat(is_recalled)),
        density=float(num_balls.to(torch.float64).mean()) / k,
        coverage=_share(torch.cat(is_covered)),
    )


def _share(claims: Tensor) -> float:
    return float(claims.to(torch.float64).mean())
