"""A multilayer perceptron with residual connections, as BigBiGAN puts on its encoder and into its discriminator (1907.02544, section 2).

h = W x,    then for each block    h <- h + W2 relu(W1 relu(h)),    out = relu(h)
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualMlp(nn.Module):
    """(B, in_features) to (B, width), not negative.

    Args:
        in_features, width: of the input; of everything else.
        num_blocks: residual blocks of two layers each.
    """

    def __init__(self, in_features: int, width: int, num_blocks: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(num_blocks))

    def forward(self, x: Tensor) -> Tensor:
        h = self.linear(x)
        for block in self.blocks:
            h = block(h)
        return F.relu(h)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, width)
        self.linear2 = nn.Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.linear2(F.relu(self.linear1(F.relu(h))))
