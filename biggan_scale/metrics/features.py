"""What metrics look at instead of images: features, here those that need no trained weights.

None of them are Inception's, so no distance in them is an FID that can be set beside a paper's.
"""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from biggan_scale.dist.seeds import Noise

PIXELS_SIDE = 32  # px; larger images are averaged down to it
RANDOM_WIDTHS = (32, 64, 128)
RANDOM_GRID = 2  # x 2 places where the last features are kept apart: the layout of the image


class Features(NamedTuple):
    """values: (B, D). probabilities: (B, K) of classes, for features of a classifier, else None."""

    values: Tensor
    probabilities: Tensor | None = None


class Pixels(nn.Module):
    """The image itself, averaged down to at most 32 x 32: distances that everyone understands and that see little."""

    def forward(self, images: Tensor) -> Features:
        return Features(averaged_down(images, PIXELS_SIDE).flatten(1))


class RandomNetwork(nn.Module):
    """A convolutional network as it is initialised (He et al. 2015), the same for all data of as many channels: 512 features.

    It was never trained, so it knows nothing of objects; distances in random features do tell sets of images apart, and favour no
    data set (Naeem et al. 2020, 2002.09797, evaluate generative models so).

    images: (B, C, H, W) float in [-1, 1], at least 8 px.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        for i, (before, after) in enumerate(zip((channels, *RANDOM_WIDTHS), RANDOM_WIDTHS, strict=False)):
            weight = Noise(0, range(after), f"random features/{i}").normal(before, 3, 3) * math.sqrt(2 / (9 * before))
            self.register_buffer(f"weight{i}", weight)

    def forward(self, images: Tensor) -> Features:
        h = images
        for weight in self.buffers():
            h = functional.avg_pool2d(functional.relu(functional.conv2d(h, weight, padding=1)), 2)  # (B, C', H/2, W/2)
        return Features(functional.adaptive_avg_pool2d(h, RANDOM_GRID).flatten(1))


def averaged_down(images: Tensor, side: int) -> Tensor:
    """(B, C, H, W) to at most `side` pixels in each direction, by averages."""
    height, width = (min(size, side) for size in images.shape[2:])
    return functional.interpolate(images, size=(height, width), mode="area")


def digest(module: nn.Module) -> str:
    """sha256 of what an extractor computes: its class and its values."""
    state = hashlib.sha256(f"{type(module).__module__}.{type(module).__qualname__}\n".encode())
    for name, tensor in sorted(module.state_dict().items()):
        state.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        state.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return state.hexdigest()
