"""Minibatch standard deviation (Karras et al. 2018, 1710.10196, section 3): how different the images of a group are, as a channel.

    s_g = mean over features and positions of sqrt(var over the group's samples + eps)

A group is `group` *consecutive* samples. The samples of a rank's micro-batch are consecutive in the data stream, so the groups of a
global batch are the same on any number of ranks and with any accumulation, as long as micro-batches are multiples of the group;
then the layer is neutral to both, which batch statistics are not. (The reference code takes every (B / group)-th sample, and its
groups change with the batch of a device.) A batch smaller than the group is one group, and is not neutral. In eval mode a batch may
have any size, and is cut into the largest groups that fit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from biggan_scale.config import ConfigError


class MinibatchStd(nn.Module):
    """(B, C, H, W) to (B, C + 1, H, W).

    Args:
        group: samples compared with each other.
    """

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        group = min(self.group, batch)
        if batch % group and not self.training:
            group = math.gcd(batch, group)
        if batch % group:
            raise ConfigError(f"a micro-batch of {batch} cannot be cut into groups of {group} (mbstd_group); take a multiple of it")
        wide = x.to(torch.promote_types(x.dtype, torch.float32)).unflatten(0, (-1, group))  # (B/G, G, C, H, W)
        deviation = (wide.var(1, correction=0) + 1e-8).sqrt().mean((1, 2, 3))  # (B/G,)
        channel = deviation.repeat_interleave(group).to(x.dtype)[:, None, None, None].expand(-1, 1, height, width)
        return torch.cat([x, channel], dim=1)
