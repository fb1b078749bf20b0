"""The residual blocks of BigGAN (Brock et al. 2019, 1809.11096, figure 15 b and c) and of BigGAN-deep (figure 16 b and c).

Upsampling, nearest or bilinear, and average pooling commute with a 1x1 convolution, so the shortcuts run theirs at the smaller of
the two resolutions: the same result for a quarter of the work.

Activations in place are safe where a convolution or a norm has just made the tensor and its backward does not look at it. The
input of a block is never written to: the shortcut reads it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biggan_scale.nn.resample_conv import conv_pool, upsample_conv

Activation = Callable[..., Tensor]


class GeneratorBlock(nn.Module):
    """norm - act - upsample - conv3x3 - norm - act - conv3x3, plus upsample - conv1x1.

    Args:
        upsampling: "nearest" or "bilinear".
    """

    def __init__(
        self, in_channels: int, out_channels: int, norm: Callable[[int], nn.Module], activation: Activation, upsampling: str = "nearest"
    ) -> None:
        super().__init__()
        self.activation = activation
        self.upsampling = upsampling
        self.norm1 = norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """x: (B, C, H, W); condition: what the norms take. Returns (B, C', 2H, 2W)."""
        h = self.activation(self.norm1(x, condition), inplace=True)
        h = upsample_conv(h, self.conv1) if self.upsampling == "nearest" else self.conv1(self._upsampled(h))  # (B, C', 2H, 2W)
        h = self.activation(self.norm2(h, condition), inplace=True)
        return self.conv2(h).add_(self._upsampled(self.shortcut(x)))

    def _upsampled(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode=self.upsampling)


class DiscriminatorBlock(nn.Module):
    """[act -] conv3x3 - act - conv3x3 [- pool], plus [pool -] conv1x1; the shortcut is the identity where it can be.

    Args:
        hidden_channels: width between the two convolutions.
        preactivation: whether the block begins with the activation; the first block, which sees the image, does not.
        downsample: whether the block halves height and width.
    """

    def __init__(
        self, in_channels: int, hidden_channels: int, out_channels: int, activation: Activation, preactivation: bool, downsample: bool
    ) -> None:
        super().__init__()
        self.activation = activation
        self.preactivation = preactivation
        self.downsample = downsample
        self.conv1 = nn.Conv2d(in_channels, hidden_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(hidden_channels, out_channels, 3, padding=1)
        learned = downsample or in_channels != out_channels
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if learned else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W). Returns (B, C', H, W), or (B, C', H/2, W/2)."""
        h = self.activation(x) if self.preactivation else x
        h = self.activation(self.conv1(h), inplace=True)
        if self.downsample:
            return conv_pool(h, self.conv2).add_(self.shortcut(F.avg_pool2d(x, 2)))
        return self.conv2(h).add_(self.shortcut(x))


class DeepGeneratorBlock(nn.Module):
    """norm - act - conv1x1 - norm - act [- upsample] - conv3x3 - norm - act - conv3x3 - norm - act - conv1x1, plus x.

    Where there are fewer channels after the block, x goes on without its last ones: no shortcut has weights.

    Args:
        hidden_channels: width of the bottleneck, between the 1x1 convolutions.
        upsample: whether the block doubles height and width.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        norm: Callable[[int], nn.Module],
        activation: Activation,
        upsample: bool,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.out_channels = out_channels
        self.upsample = upsample
        self.norm1 = norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, hidden_channels, 1)
        self.norm2 = norm(hidden_channels)
        self.conv2 = nn.Conv2d(hidden_channels, hidden_channels, 3, padding=1)
        self.norm3 = norm(hidden_channels)
        self.conv3 = nn.Conv2d(hidden_channels, hidden_channels, 3, padding=1)
        self.norm4 = norm(hidden_channels)
        self.conv4 = nn.Conv2d(hidden_channels, out_channels, 1)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """x: (B, C, H, W); condition: what the norms take. Returns (B, C', H, W), or (B, C', 2H, 2W)."""
        h = self.conv1(self.activation(self.norm1(x, condition), inplace=True))
        h = self.activation(self.norm2(h, condition), inplace=True)
        h = upsample_conv(h, self.conv2) if self.upsample else self.conv2(h)
        h = self.conv3(self.activation(self.norm3(h, condition), inplace=True))
        h = self.conv4(self.activation(self.norm4(h, condition), inplace=True))
        x = x[:, : self.out_channels]
        return h.add_(F.interpolate(x, scale_factor=2) if self.upsample else x)


class DeepDiscriminatorBlock(nn.Module):
    """act - conv1x1 - act - conv3x3 - act - conv3x3 - act [- pool] - conv1x1, plus [pool -] x.

    Where there are more channels after the block, x gets the missing ones from a 1x1 convolution of itself.

    Args:
        hidden_channels: width of the bottleneck, between the 1x1 convolutions.
        downsample: whether the block halves height and width.
    """

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int, activation: Activation, downsample: bool) -> None:
        super().__init__()
        self.activation = activation
        self.downsample = downsample
        self.conv1 = nn.Conv2d(in_channels, hidden_channels, 1)
        self.conv2 = nn.Conv2d(hidden_channels, hidden_channels, 3, padding=1)
        self.conv3 = nn.Conv2d(hidden_channels, hidden_channels, 3, padding=1)
        self.conv4 = nn.Conv2d(hidden_channels, out_channels, 1)
        self.shortcut = nn.Conv2d(in_channels, out_channels - in_channels, 1) if out_channels > in_channels else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W). Returns (B, C', H, W), or (B, C', H/2, W/2)."""
        h = self.conv1(self.activation(x))
        h = self.conv2(self.activation(h, inplace=True))
        h = self.conv3(self.activation(h, inplace=True))
        h = self.activation(h, inplace=True)
        if self.downsample:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        if self.shortcut is not None:
            x = torch.cat([x, self.shortcut(x)], dim=1)
        return self.conv4(h).add_(x)
