"""ZeRO, stage 1 (Rajbhandari et al. 2020, 1910.02054, section 5.1): of a player's moments each rank keeps those of its part of the
parameters, steps that part, and sends it to the others.

torch's ZeroRedundancyOptimizer does this. Weights and gradients are whole on every rank and travel as under DDP, an update takes no
other numbers than there, and a parameter without a gradient is left alone as there: weights are the same bit for bit. What is ours
is that checkpoints know nothing of it: `gathered` puts the parts together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import AdamW, Optimizer

from biggan_scale.dist import process_group


def sharded_adamw(parameters: list[Tensor], **settings: Any) -> Optimizer:
    """AdamW whose moments are spread over the ranks, of which there are several; `parameters` are alike on all."""
    from torch.distributed.optim import ZeroRedundancyOptimizer  # loads much that nobody else needs

    return ZeroRedundancyOptimizer(parameters, AdamW, **settings)


def of_this_rank(optimizer: Optimizer) -> Optimizer:
    """The optimizer that has the moments this rank keeps."""
    return getattr(optimizer, "optim", optimizer)


def gathered(parameters: Mapping[str, Tensor], moments: Mapping[str, Mapping[str, Tensor]]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """On rank 0 each parameter's name with all its moments, on the CPU; on other ranks nothing. All ranks must go through it together.

    One parameter travels at a time, so no rank holds more than its part and that.

    Args:
        parameters: all of the player's, in one order on all ranks.
        moments: name -> Adam's "step", "exp_avg" and "exp_avg_sq", of the parameters whose moments this rank keeps.
    """
    kept: list[list[str]] = [[] for _ in range(process_group.world())]
    dist.all_gather_object(kept, list(moments))
    owner = {name: rank for rank, names in enumerate(kept) for name in names}
    for name, parameter in parameters.items():
        if name in moments:
            message = torch.cat([moments[name][key].reshape(-1).to(parameter.dtype) for key in ("step", "exp_avg", "exp_avg_sq")])
        else:
            message = parameter.new_empty(1 + 2 * parameter.numel())
        dist.broadcast(message, owner[name])
        if process_group.rank() == 0:
            step, first, second = message.cpu().split([1, parameter.numel(), parameter.numel()])
            yield name, {"step": step[0].float(), "exp_avg": first.view(parameter.shape), "exp_avg_sq": second.view(parameter.shape)}
