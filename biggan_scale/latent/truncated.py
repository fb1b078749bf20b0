"""z ~ N(0, I) with every value redrawn while its magnitude exceeds a threshold: a truncated prior used already in training."""

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

    TINY: ClassVar[dict[str, int]] = {}

    def __post_init__(self) -> None:
        if self.threshold <= 0:
            raise ValueError(f"threshold {self.threshold} must be above 0")


class Truncated:
    def __init__(self, config: Config, spec: ImageSpec) -> None:
        self.config = config
        self.dim = config.dim

    def sample(self, noise: Noise, truncation: float | None = None) -> Tensor:
        """(B, dim) with magnitudes at most `truncation`, or the trained threshold where that is smaller."""
        threshold = self.config.threshold if truncation is None else min(truncation, self.config.threshold)
        return truncated_normal(noise.normal(self.dim), threshold)
