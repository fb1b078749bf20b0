"""A joint prior: Gaussian noise, uniform codes and categorical codes, side by side in one vector.

    z = [n, u, onehot(c_1), onehot(c_2), ...],    n ~ N(0, I),    u ~ U(-1, 1),    c_k uniform over its categories

InfoGAN (Chen et al. 2016, 1606.03657) wants the codes u and c to be found again in the image. An unsupervised BigGAN with 120
Gaussian values and one code of 1024 categories needs nobody to want it: the code becomes a cluster of images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from biggan_scale.config import ImageSpec
from biggan_scale.dist.seeds import Noise
from biggan_scale.latent.truncation import truncated_normal


@dataclass(frozen=True)
class Config:
    normal: int = 120  # Gaussian values
    uniform: int = 0  # uniform codes
    categories: tuple[int, ...] = (1024,)  # of each categorical code

    TINY: ClassVar[dict[str, int]] = {}

    def __post_init__(self) -> None:
        if min(self.normal, self.uniform) < 0 or self.normal + self.uniform + sum(self.categories) < 1:
            raise ValueError(f"normal {self.normal} and uniform {self.uniform} must be 0 or more, and something must be drawn")
        if self.categories and min(self.categories) < 2:
            raise ValueError(f"categories {list(self.categories)}: each code needs at least 2")


class Codes(NamedTuple):
    """The parts of a joint z. normal: (B, normal); uniform: (B, uniform); categorical: a (B, K) one-hot matrix for each code."""

    normal: Tensor
    uniform: Tensor
    categorical: tuple[Tensor, ...]


class Joint:
    def __init__(self, config: Config, spec: ImageSpec) -> None:
        self.config = config
        self.dim = config.normal + config.uniform + sum(config.categories)

    def sample(self, noise: Noise, truncation: float | None = None) -> Tensor:
        """(B, dim); `truncation` concerns the Gaussian values only."""
        config = self.config
        normal = noise.normal(config.normal)
        if truncation is not None:
            normal = truncated_normal(normal, truncation)
        uniform = noise.uniform(config.uniform) * 2 - 1
        codes = [F.one_hot(noise.integers(number), number).to(normal.dtype) for number in config.categories]
        return torch.cat([normal, uniform, *codes], dim=1)

    def split(self, z: Tensor) -> Codes:
        """The parts of (B, dim)."""
        normal, uniform, *codes = z.split([self.config.normal, self.config.uniform, *self.config.categories], dim=1)
        return Codes(normal, uniform, tuple(codes))

    def join(self, codes: Codes) -> Tensor:
        """(B, dim): the inverse of `split`."""
        return torch.cat([codes.normal, codes.uniform, *codes.categorical], dim=1)

    @property
    def num_rows(self) -> int:
        """What `arrange` can show: a row for each category of the first code, then one for each uniform code."""
        return self._num_first + self.config.uniform

    def arrange(self, z: Tensor, columns: int) -> Tensor:
        """(rows * columns, dim) as a sheet whose rows show codes and whose columns show noise.

        A category has its row, on the noise of the first row. So has a uniform code, which goes from -1 to 1 along it, on the noise of
        the first column. Further rows stay as drawn.
        """
        return torch.cat([self._row(z, row, columns) for row in range(len(z) // columns)])

    def _row(self, z: Tensor, row: int, columns: int) -> Tensor:
        if row < self._num_first:
            codes = self.split(z[:columns].clone())
            codes.categorical[0].zero_()[:, row] = 1
        elif row < self.num_rows:
            codes = self.split(z[:1].repeat(columns, 1))
            codes.uniform[:, row - self._num_first] = torch.linspace(-1, 1, columns, dtype=z.dtype, device=z.device)
        else:
            return z[row * columns : (row + 1) * columns]
        return self.join(codes)

    @property
    def _num_first(self) -> int:
        return self.config.categories[0] if self.config.categories else 0

    @property
    def entropy(self) -> float:
        """Of the categorical codes together, in nats: the most that an image can tell of them."""
        return sum(math.log(number) for number in self.config.categories)
