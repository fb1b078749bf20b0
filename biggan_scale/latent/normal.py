"""z ~ N(0, I): the prior of BigGAN and most others, with truncation by scale or by resampling.

Truncation trades diversity for fidelity (Brock et al. 2019, section 3.1). Two meanings are in use; they are named here:
"resample" redraws every value whose magnitude exceeds the threshold (the paper), "scale" multiplies z by the truncation
(common in code that followed).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from biggan_scale.config import ImageSpec
from biggan_scale.dist.seeds import Noise
from biggan_scale.latent.truncation import truncated_normal


@dataclass(frozen=True)
class Config:
    dim: int = 128  # length of z
    truncation: Literal["resample", "scale"] = "resample"  # what `truncation` below 1 means when sampling

    TINY: ClassVar[dict[str, int]] = {}


class Normal:
    def __init__(self, config: Config, spec: ImageSpec) -> None:
        self.config = config
        self.dim = config.dim

    def sample(self, noise: Noise, truncation: float | None = None) -> Tensor:
        """(B, dim); `truncation` None means the full prior. A truncated draw uses the same randomness as the full one."""
        z = noise.normal(self.dim)
        if truncation is None:
            return z
        return truncated_normal(z, truncation) if self.config.truncation == "resample" else z * truncation
