"""Class-conditional batch normalisation (Dumoulin et al. 2017, 1610.07629; de Vries et al. 2017, 1707.00683).

    y = x_hat * (1 + gain(c)) + bias(c)

The condition c of a sample is what the projections accept: a vector (the class embedding shared by all layers, with the layer's
chunk of z: BigGAN, 1809.11096, section 3 and appendix B) through a linear map, or the label itself through a table of the
layer's own. `AffineNorm` is the plain norm with a learned gain and bias per channel, for where there is nothing to condition on.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from biggan_scale.nn.sync_norm import BatchNorm


class ConditionalNorm(nn.Module):
    def __init__(self, norm: BatchNorm, projection: Callable[[int], nn.Module]) -> None:
        """
        Args:
            norm: the normalisation, of C channels.
            projection: makes a map from a batch of conditions to (B, C); called once for the gain and once for the bias.
        """
        super().__init__()
        self.norm = norm
        self.gain = projection(norm.num_features)
        self.bias = projection(norm.num_features)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return self.norm(x, 1 + self.gain(condition), self.bias(condition))


class AffineNorm(nn.Module):
    def __init__(self, norm: BatchNorm) -> None:
        super().__init__()
        self.norm = norm
        self.gain = nn.Parameter(torch.ones(norm.num_features))
        self.bias = nn.Parameter(torch.zeros(norm.num_features))

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.norm(x, self.gain, self.bias)
