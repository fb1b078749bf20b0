"""ZeRO, stage 1 (Rajbhandari et al. 2020, 1910.02054, section 5.1): of a player's moments each rank keeps those of its part of the
parameters, steps that part, and sends it to the others.

torch's ZeroRedundancyOptimizer does this. Weights and gradients are whole on every rank and travel as under DDP, an update takes no
other numbers than there, and a parameter without a gradient is left alone as there: weights are the same bit for bit. What is ours
is that checkpoints know nothing of it: `whole` puts the parts together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import AdamW, Optimizer

from biggan_scale.dist import process_group
from biggan_scale.engine.parallel.ddp import Ddp, Moments


class Zero(Ddp):
    """For several ranks: one alone keeps everything."""

    def adamw(self, parameters: list[Tensor], **settings: Any) -> Optimizer:
        from torch.distributed.optim import ZeroRedundancyOptimizer  # loads much that nobody else needs

        return ZeroRedundancyOptimizer(parameters, AdamW, **settings)

    def kept(self, optimizer: Optimizer) -> Optimizer:
        return optimizer.optim  # type: ignore[attr-defined]  # of this rank's part

    def whole(self, parameters: Mapping[str, Tensor], moments: Mapping[str, Moments]) -> Iterator[tuple[str, Moments]]:
        """Copies on the CPU. One parameter travels at a time, so no rank holds more than its part and that."""
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
