"""The mean of vectors over a whole global batch, gathered from its micro-batches and ranks: what running averages are fed with.

A running average that takes a step in every forward pass would step more often under accumulation, and differently on every rank.
So a pass only adds to a sum, and the average is fed once per optimizer step with the mean over everything, equal on all ranks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from biggan_scale.dist.reduce import all_reduce_sum


class BatchMean(nn.Module):
    """Between steps the sums are 0, and so are they in a checkpoint."""

    total: Tensor
    count: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(dim))
        self.register_buffer("count", torch.zeros(1))

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """Add a micro-batch, (B, dim)."""
        self.total += x.sum(0).to(self.total.dtype)
        self.count += len(x)

    @torch.no_grad()
    def take(self) -> tuple[Tensor, Tensor]:
        """(dim,): the mean of all that any rank has observed since the last time, and a scalar, how many they were.

        All ranks call it together.
        """
        together = all_reduce_sum(torch.cat([self.total, self.count]))
        self.total.zero_(), self.count.zero_()
        return together[:-1] / together[-1], together[-1]
