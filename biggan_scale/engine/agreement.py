"""Ranks must hold the same weights and buffers. Nobody broadcasts them, so we look."""

from __future__ import annotations

import hashlib

import torch.distributed as dist
from torch import Tensor, nn

from biggan_scale.dist import process_group


def check_ranks_agree(module: nn.Module, when: str) -> None:
    """Compare every parameter and buffer over the ranks, bit for bit.

    Raises:
        RuntimeError: names the first tensor that differs. This is a bug: of a network (statistics that are not synchronised), a
            game (randomness that does not come from `draw`) or the engine.
    """
    if process_group.world() == 1:
        return
    mine = {name: _digest(tensor) for name, tensor in module.state_dict().items()}
    everyone: list[dict[str, str]] = [{} for _ in range(process_group.world())]
    dist.all_gather_object(everyone, mine)
    for name, digest in mine.items():
        differing = [rank for rank, theirs in enumerate(everyone) if theirs.get(name) != digest]
        if differing:
            raise RuntimeError(f"{when}: {name} on rank {process_group.rank()} differs from rank {differing[0]}")


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
