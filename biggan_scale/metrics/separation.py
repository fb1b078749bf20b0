"""How well one number separates two groups: the chance that it is larger for a member of the first than for one of the second.

    P(a > b) + P(a = b) / 2,    the area under the ROC curve, Mann and Whitney's U divided by the number of pairs

1/2 is a coin, 1 no error at all. It depends on the order of the numbers only: a score means the same under any loss, whatever its
scale. For groups of n and m without difference its standard deviation is sqrt((n + m + 1) / (12 n m)): 0.05 for 64 and 64.
"""

from __future__ import annotations

import torch
from torch import Tensor


def separation(a: Tensor, b: Tensor) -> float:
    """(N,) and (M,) to the chance of a > b; NaN if any number is."""
    if not (a.isfinite().all() and b.isfinite().all()):
        return float("nan")
    return float((torch.sign(a[:, None] - b[None, :]).double().mean() + 1) / 2)
