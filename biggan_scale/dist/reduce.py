"""A sum over all ranks that autograd can differentiate, as often as needed.

Every rank holds y = sum_r x_r. A loss L summed over ranks has dL/dx_r = sum_s dL_s/dy, which is the same sum again, so the
operation is its own backward, and that backward can be differentiated in turn.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from biggan_scale.dist.process_group import world
from biggan_scale.dist.waiting import waiting


def all_reduce_sum(x: Tensor) -> Tensor:
    """The sum of x over ranks, on every rank; x itself where there is only one. All ranks must call it, in the same order."""
    return x if world() == 1 else _AllReduceSum.apply(x)


class _AllReduceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        with waiting():
            dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _AllReduceSum.apply(grad)
