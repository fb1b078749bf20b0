"""What torch.nn.utils.spectral_norm, as other projects use it, does to a state dict in training."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def power_iterated(state: dict[str, Tensor], eps: float) -> dict[str, Tensor]:
    """The state with every u and v after one iteration, which comes before each use of the weight in training mode."""
    moved = dict(state)
    for name, weight in state.items():
        if name.endswith("weight_orig"):
            layer, matrix = name.removesuffix("_orig"), weight.flatten(1)
            moved[f"{layer}_v"] = v = F.normalize(matrix.T @ state[f"{layer}_u"], dim=0, eps=eps)
            moved[f"{layer}_u"] = F.normalize(matrix @ v, dim=0, eps=eps)
    return moved
