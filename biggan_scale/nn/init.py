"""Initial weights: orthogonal (Saxe et al. 2014, 1312.6120; BigGAN's choice), N(0, 0.02) (DCGAN) or Xavier."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

STYLES: dict[str, Callable[[Tensor], Tensor]] = {
    "orthogonal": nn.init.orthogonal_,
    "normal": partial(nn.init.normal_, std=0.02),
    "xavier": nn.init.xavier_uniform_,
}


def initialize(root: nn.Module, style: str) -> None:
    """Draw every weight of root's convolutions, linear layers and embeddings from torch's global generator; biases become 0."""
    for module in root.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
            STYLES[style](module.weight)
            if getattr(module, "bias", None) is not None:
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
