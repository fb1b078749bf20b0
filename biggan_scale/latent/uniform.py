"""z ~ U(-1, 1): the prior of the first GANs, of DCGAN and of LOGAN. `truncation` t below 1 draws from U(-t, t)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from biggan_scale.config import ImageSpec
from biggan_scale.dist.seeds import Noise


@dataclass(frozen=True)
class Config:
    dim: int = 100  # length of z

    TINY: ClassVar[dict[str, int]] = {}


class Uniform:
    def __init__(self, config: Config, spec: ImageSpec) -> None:
        self.dim = config.dim

    def sample(self, noise: Noise, truncation: float | None = None) -> Tensor:
        """(B, dim) in [-1, 1); `truncation` None means the full prior. A truncated draw uses the same randomness as the full one."""
        z = 2 * noise.uniform(self.dim) - 1
        return z if truncation is None else z * truncation
