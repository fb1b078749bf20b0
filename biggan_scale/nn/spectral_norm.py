"""Spectral normalisation: each weight divided by an estimate of its largest singular value (Miyato et al. 2018, 1802.05957).

    v <- W^T u / |W^T u|,    u <- W v / |W v|,    sigma = u^T W v,    W_SN = W / sigma              (algorithm 1)

W is the weight with its first dimension as rows. u and v are constants to autograd, sigma is not:
dsigma/dW = u v^T. The arithmetic is float32 (float64 for float64 weights) whatever autocast says: a sigma in bfloat16 is wrong
by half a percent, and all layers multiply.

The power iteration runs once per move of a player, by `refresh`, and never in a training forward. So accumulation, several
forwards of one network and recomputation all see the same W_SN. In eval mode u may be stale (the optimizer stepped after the
last refresh) or not even of unit length (an average over time), therefore one iteration is made from it and thrown away.

A network is built from plain layers, then `apply` normalises them; `fold` leaves the normalised weights as plain ones again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

WARMUP = 15  # iterations at construction, so that the first sigma is near the truth; torch's own layer makes as many


class SpectralNorm(nn.Module):
    """The parametrization of one weight: W to W / sigma."""

    u: Tensor  # (rows,) left singular vector
    v: Tensor  # (columns,) right singular vector

    def __init__(self, weight: Tensor, eps: float = 1e-8, iterations: int = 1) -> None:
        super().__init__()
        self.eps = eps
        self.iterations = iterations
        matrix = _matrix(weight.detach())
        self.register_buffer("u", F.normalize(matrix.new_empty(matrix.shape[0]).normal_(), dim=0))
        self.register_buffer("v", matrix.new_zeros(matrix.shape[1]))
        self.refresh(weight, WARMUP)

    @torch.no_grad()
    def refresh(self, weight: Tensor, iterations: int | None = None) -> None:
        """Move u and v towards the leading singular vectors of the weight."""
        if weight.is_meta:
            return  # a network built for its shapes, whose values are loaded later
        for _ in range(iterations or self.iterations):
            u, v = self._iterate(weight)
            self.u.copy_(u)
            self.v.copy_(v)

    def sigma(self, weight: Tensor) -> Tensor:
        """The estimate of the largest singular value, a scalar; differentiable in the weight."""
        # Clones: a later refresh must not write into what this graph has saved for its backward.
        u, v = (self.u.clone(), self.v.clone()) if self.training else self._iterate(weight)
        with _no_autocast(weight):
            return torch.dot(u, torch.mv(_matrix(weight), v))

    def forward(self, weight: Tensor) -> Tensor:
        return weight / self.sigma(weight)

    @torch.no_grad()
    def _iterate(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        with _no_autocast(weight):
            matrix = _matrix(weight)
            v = F.normalize(torch.mv(matrix.T, self.u.to(matrix.dtype)), dim=0, eps=self.eps)
            return F.normalize(torch.mv(matrix, v), dim=0, eps=self.eps), v


def apply(root: nn.Module, kinds: tuple[type[nn.Module], ...], eps: float = 1e-8, iterations: int = 1) -> None:
    """Normalise the weight of every module of these kinds inside root, in place."""
    for module in [m for m in root.modules() if isinstance(m, kinds)]:
        parametrize.register_parametrization(module, "weight", SpectralNorm(module.get_parameter("weight"), eps, iterations))


def refresh(root: nn.Module) -> None:
    """One power iteration (or as many as configured) for every normalised weight inside root: before each move."""
    for layer, norm in normalised(root):
        norm.refresh(layer.parametrizations.weight.original)  # type: ignore[union-attr, arg-type]


def fold(root: nn.Module) -> None:
    """Make every normalised weight inside root a plain parameter holding its eval-mode value, in place."""
    for layer, norm in list(normalised(root)):
        norm.eval()
        parametrize.remove_parametrizations(layer, "weight")


def normalised(root: nn.Module) -> Iterator[tuple[nn.Module, SpectralNorm]]:
    """Every layer with a normalised weight: the layer and the norm."""
    for module in root.modules():
        if parametrize.is_parametrized(module, "weight"):
            chain: Any = module.parametrizations.weight  # type: ignore[union-attr]
            if isinstance(chain[0], SpectralNorm):
                yield module, chain[0]


def _matrix(weight: Tensor) -> Tensor:
    return weight.flatten(1).to(torch.promote_types(weight.dtype, torch.float32))  # (rows, columns)


def _no_autocast(tensor: Tensor) -> torch.autocast:
    return torch.autocast("cpu" if tensor.is_meta else tensor.device.type, enabled=False)  # autocast knows no meta device
