"""Self-attention over positions, as BigGAN uses it (Zhang et al. 2019, 1805.08318, with the changes of its released code).

    beta = softmax_j(theta(x)_i . phi(x)_j),    y_i = x_i + gamma * o(sum_j beta_ij g(x)_j)

theta, phi, g and o are 1x1 convolutions without bias; keys phi and values g are max-pooled 2x2, so i runs over H*W positions and
j over a quarter of them. There is no 1/sqrt(d). Written with bmm and softmax: the fused attention kernels have no second
derivative, which gradient penalties need.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SelfAttention(nn.Module):
    MIN_CHANNELS = 8  # fewer would leave theta and phi without any

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.theta = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.phi = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.g = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.o = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(1))  # not 0-dimensional: DeepSpeed cannot broadcast those

    def forward(self, x: Tensor) -> Tensor:
        query = self.theta(x).flatten(2)  # (B, C/8, HW)
        key = F.max_pool2d(self.phi(x), 2).flatten(2)  # (B, C/8, HW/4)
        value = F.max_pool2d(self.g(x), 2).flatten(2)  # (B, C/2, HW/4)
        beta = torch.bmm(query.transpose(1, 2), key).softmax(-1)  # (B, HW, HW/4)
        mixed = torch.bmm(beta.to(value.dtype), value.transpose(1, 2))  # (B, HW, C/2), channels last in memory
        mixed = mixed.transpose(1, 2).unflatten(2, x.shape[2:])  # (B, C/2, H, W)
        return torch.addcmul(x, self.gamma.to(x.dtype), self.o(mixed).to(x.dtype))
