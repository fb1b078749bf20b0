"""Differentiable augmentation (Zhao et al. 2020, 2006.10738): every image that D sees is recoloured, shifted and cut, always.

color        brightness + U(-1/2, 1/2); saturation x U(0, 2); contrast x U(1/2, 3/2), about the image's own means
translation  by up to an eighth of the size, black (0 in [-1, 1]) coming in
cutout       a square of half the size to 0, its centre anywhere
flip         mirrored with probability 1/2; not in the paper, but with translation what CR-GAN's consistency is under (1910.12027)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from biggan_scale.augment.draws import Draws
from biggan_scale.config import ImageSpec

SHIFT = 0.125  # of the size
CUT = 0.5  # of the size
NUM_DRAWS = {"color": 3, "translation": 2, "cutout": 2, "flip": 1}


@dataclass(frozen=True)
class Config:
    transforms: tuple[Literal["color", "translation", "cutout", "flip"], ...] = ("color", "translation", "cutout")  # in this order

    TINY: ClassVar[dict[str, int]] = {}


class Diffaugment(nn.Module):
    """Augments images.

    Args:
        config: which transforms.
        spec: of the images.
    """

    is_adaptive = False

    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        self.config = config
        self.num_draws = sum(NUM_DRAWS[name] for name in config.transforms)

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        """(B, C, H, W), augmented. images: (B, C, H, W) in [-1, 1]; uniforms: (B, num_draws) in [0, 1)."""
        draws, x = Draws(uniforms), images
        for name in self.config.transforms:
            match name:
                case "color":
                    x = _recolored(x, draws)
                case "translation":
                    x = _shifted(x, draws)
                case "cutout":
                    x = _cut(x, draws)
                case "flip":
                    x = torch.where(draws.uniform()[:, :, None, None] < 0.5, x.flip(3), x)
        return x

    def watch(self) -> dict[str, Tensor]:
        """Nothing: it does not change."""
        return {}

    def adapt(self, sign: Tensor, nimg: int, round: int) -> None:
        """Nothing to steer."""


def _recolored(x: Tensor, draws: Draws) -> Tensor:
    brightness, saturation, contrast = (draws.uniform()[:, :, None, None] for _ in range(3))
    x = x + (brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * (saturation * 2)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * (contrast + 0.5)


def _shifted(x: Tensor, draws: Draws) -> Tensor:
    for dim in (2, 3):
        size = x.shape[dim]
        reach = int(size * SHIFT + 0.5)
        shift = (draws.uniform() * (2 * reach + 1)).floor().long() - reach  # (B, 1)
        places = torch.arange(size, device=x.device) + shift  # (B, size)
        there = ((places >= 0) & (places < size)).view(len(x), *(size if d == dim else 1 for d in (1, 2, 3)))
        index = places.clamp(0, size - 1).view(there.shape).expand_as(x)
        x = x.gather(dim, index) * there
    return x


def _cut(x: Tensor, draws: Draws) -> Tensor:
    outside = torch.zeros_like(x[:, :1], dtype=torch.bool)
    for dim in (2, 3):
        size = x.shape[dim]
        first = (draws.uniform() * (size + 1 - int(size * CUT + 0.5) % 2)).floor() - int(size * CUT + 0.5) // 2  # (B, 1)
        places = torch.arange(size, device=x.device)
        beyond = (places < first) | (places >= first + int(size * CUT + 0.5))  # (B, size)
        outside = outside | beyond.view(len(x), *(size if d == dim else 1 for d in (1, 2, 3)))
    return x * outside
