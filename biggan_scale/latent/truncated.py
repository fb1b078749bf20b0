"""z ~ N(0, I) with every value redrawn while its magnitude exceeds a threshold, then scaled: a prior truncated already in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from biggan_scale.config import ImageSpec
from biggan_scale.dist.seeds import Noise
from biggan_scale.latent.truncation import truncated_normal


@dataclass(frozen=True)
class Config:
    dim: int = 128  # length of z
    threshold: float = 2.0  # largest magnitude of a value, in standard deviations
    scale: float = 1.0  # every value is multiplied by this: the standard deviation before truncation

    TINY: ClassVar[dict[str, int]] = {}

    def __post_init__(self) -> None:
        if self.threshold <= 0:
            raise ValueError(f"threshold {self.threshold} must be above 0")
        if self.scale <= 0:
            raise ValueError(f"scale {self.scale} must be above 0")


class Truncated:
    def __init__(self, config: Config, spec: ImageSpec) -> None:
        self.config = config
        self.dim = config.dim

    def sample(self, noise: Noise, truncation: float | None = None) -> Tensor:
        """(B, dim) with magnitudes at most `truncation`, or the trained scale * threshold where that is smaller."""
        threshold, scale = self.config.threshold, self.config.scale
        return scale * truncated_normal(noise.normal(self.dim), threshold if truncation is None else min(truncation / scale, threshold))
