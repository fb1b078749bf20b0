"""Reversible residual blocks: a stack of any depth that keeps the activations of its last block only (Gomez et al. 2017, 1707.04585).

    forward    y1 = x1 + f(x2),     y2 = x2 + g(y1)
    backward   x2 = y2 - g(y1),     x1 = y1 - f(x2),    each recomputed, differentiated and dropped, block by block from the end

x1 and x2 are the halves of the channels. What is paid is a second forward; what autograd would have kept for each block is never
there. The sums are made in at least float32, whatever autocast says: a subtraction in bfloat16 does not undo an addition.

The recomputation leaves no trace: running statistics are those of one forward. Gradients reach parameters as from any function, so
DDP, accumulation and `torch.autograd.grad` see nothing unusual. There is no second derivative.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class ReversibleBlock(nn.Module):
    """f and g: modules that keep the shape (B, C/2, H, W)."""

    def __init__(self, f: nn.Module, g: nn.Module) -> None:
        super().__init__()
        self.f = f
        self.g = g

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same; the plain form, whose activations autograd keeps."""
        x1, x2 = x.chunk(2, dim=1)
        y1 = x1 + self.f(x2)
        return torch.cat([y1, x2 + self.g(y1)], dim=1)


class ReversibleStack(nn.Module):
    """Blocks one after the other: (B, C, H, W) to the same, C even, at least float32."""

    def __init__(self, blocks: Sequence[ReversibleBlock]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        if not self.blocks:
            return x
        return _Stack.apply(x, self.blocks, *self.blocks.parameters())


class _Stack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, blocks: Sequence[ReversibleBlock], *parameters: Tensor) -> Tensor:
        y = x
        for block in blocks:
            y = block(y)
        ctx.blocks = blocks
        ctx.autocast = _autocast_of(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (y,) = ctx.saved_tensors
        (y1, y2), (grad1, grad2) = y.chunk(2, dim=1), grad.chunk(2, dim=1)
        gradients: dict[Tensor, Tensor] = {}
        device_type, options = ctx.autocast
        with torch.autocast(device_type, **options):
            for block in reversed(ctx.blocks):
                x2, grad1 = _undo(block.g, y1, y2, grad1, grad2, gradients)
                x1, grad2 = _undo(block.f, x2, y1, grad2, grad1, gradients)
                y1, y2 = x1, x2
        parameters = [p for block in ctx.blocks for p in block.parameters()]
        return torch.cat([grad1, grad2], dim=1), None, *(gradients.get(p) for p in parameters)


def _undo(
    function: nn.Module, seen: Tensor, total: Tensor, grad_seen: Tensor, grad_total: Tensor, gradients: dict[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Undo total = x + function(seen).

    Returns x, and the gradient of `seen` grown by what comes through the function; its parameters' go into `gradients`.
    """
    trained = [p for p in function.parameters() if p.requires_grad]
    with torch.enable_grad(), _statistics_kept(function):
        seen = seen.detach().requires_grad_()
        value = function(seen)
        through, *of_parameters = torch.autograd.grad(value, [seen, *trained], grad_total.to(value.dtype))
    gradients |= dict(zip(trained, of_parameters, strict=True))
    return total - value.detach(), grad_seen + through


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """After, the module's buffers are as before: a norm must not record the same batch twice."""
    buffers = [buffer.clone() for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, before in zip(module.buffers(), buffers, strict=True):
            buffer.copy_(before)


def _autocast_of(x: Tensor) -> tuple[str, dict[str, Any]]:
    """The arguments of torch.autocast that bring back the forward's setting in the backward."""
    kind = x.device.type
    return kind, {
        "enabled": torch.is_autocast_enabled(kind),
        "dtype": torch.get_autocast_dtype(kind),
        "cache_enabled": torch.is_autocast_cache_enabled(),
    }
