"""Distributed large-scale training of GANs: sharded data, DDP, synchronised batch norm, mixed precision, EMA, exact resume.

To use what was trained:

    from biggan_scale import load
    model = load("runs/demo")
    images = model.sample(num=16, seed=0, truncation=0.5, classes=[3])  # (N, C, H, W) in [-1, 1]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from biggan_scale.export.load import load as load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    if name == "load":  # on demand: it imports torch, and `biggan-scale --help` must not
        from biggan_scale.export.load import load

        return load
    raise AttributeError(f"module 'biggan_scale' has no attribute {name!r}")
