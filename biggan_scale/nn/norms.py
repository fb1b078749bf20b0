"""The unconditional norms a network can choose from, by name.

batch   batch normalisation over all ranks: the usual choice; statistics of the micro-batch
group   group normalisation (Wu & He 2018, 1803.08494): of each image alone, so neither accumulation nor the number of ranks matters
none    nothing
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn

from biggan_scale.nn.conditional_norm import AffineNorm
from biggan_scale.nn.sync_norm import BatchNorm

GROUP_WIDTH = 16  # channels of a group, as many as do best in 1803.08494, table 3


def _group(width: int) -> nn.Module:
    return nn.GroupNorm(math.gcd(width, max(width // GROUP_WIDTH, 1)), width)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": lambda width: AffineNorm(BatchNorm(width)),
    "group": _group,
    "none": lambda width: nn.Identity(),
}
