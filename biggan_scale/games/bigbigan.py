"""BigBiGAN (Donahue & Simonyan 2019, 1907.02544): BiGAN at BigGAN's scale, with scores of x alone and z alone beside the pair's.

    l_EG = sum over s of y s,    l_D = sum over s of relu(1 - y s),    s in {s_xz, s_x, s_z},    y = +1 for (x, E(x)), -1 for (G(z), z)

The unary scores s_x and s_z tell G that its images, and E that its latent vectors, are to be distributed as they should, whether or
not the pair fits. E usually learns faster than G: give `optim.E` a multiple of G's learning rate (the paper's best: 10).

E may see larger images than G makes (the paper: 256 and 128 px): `encoder_scale` 2 means that D gets real images averaged over 2x2.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from biggan_scale.config import ConfigError, ImageSpec
from biggan_scale.games.base import Move
from biggan_scale.games.bigan import Bigan
from biggan_scale.games.bigan import Config as BiganConfig
from biggan_scale.losses import orthogonal


@dataclass(frozen=True)
class Config(BiganConfig):
    loss: Literal["hinge", "non_saturating", "minimax", "wasserstein"] = "hinge"  # the adversarial loss, of each score
    unary: tuple[Literal["x", "z"], ...] = ("x", "z")  # scores beside that of the pair; none of them: BiGAN
    encoder_scale: int = 1  # E's images, which are the data's, are so many times larger than G's and D's
    orthogonal: float = 0.0  # strength of BigGAN's orthogonal regularisation of G (BigGAN: 1e-4)

    TINY: ClassVar[dict[str, int]] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder_scale < 1:
            raise ValueError(f"encoder_scale {self.encoder_scale} must be at least 1")
        if self.orthogonal < 0:
            raise ValueError(f"orthogonal {self.orthogonal} must not be negative")


class Bigbigan(Bigan):
    config: Config

    def __init__(self, config: Config, spec: ImageSpec) -> None:
        if spec.height % config.encoder_scale or spec.width % config.encoder_scale:
            raise ConfigError(f"data.resolution {spec.height} x {spec.width} does not divide by encoder_scale {config.encoder_scale}")
        super().__init__(config, spec)

    def score_names(self) -> tuple[str, ...]:
        return ("xz", *self.config.unary)

    def generated_spec(self) -> ImageSpec:
        scale = self.config.encoder_scale
        return dataclasses.replace(self.spec, height=self.spec.height // scale, width=self.spec.width // scale)

    def as_generated(self, images: Tensor) -> Tensor:
        return F.avg_pool2d(images, self.config.encoder_scale)

    def add_gradients(self, move: Move) -> None:
        if move.player == "G" and self.config.orthogonal > 0:
            orthogonal.add_gradient_(orthogonal.regularised_weights(self.G), self.config.orthogonal)
