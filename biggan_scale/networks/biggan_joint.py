"""BigGAN's generator for a joint latent that ends in a categorical code: the code takes the place of the class label.

    z = [n, onehot(c)]:    n as BigGAN's z (cut into chunks, if hierarchical), c through the embedding that all norms share

So an unsupervised BigGAN has the clusters for which a supervised one has classes; its D knows nothing of them. See `latent/joint.py`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from biggan_scale.config import ConfigError, ImageSpec
from biggan_scale.networks import biggan
from biggan_scale.networks.biggan import GeneratorConfig as BigGanGeneratorConfig


@dataclass(frozen=True)
class GeneratorConfig(BigGanGeneratorConfig):
    categories: int = 1024  # of the code: the last values of z, a one-hot vector

    TINY: ClassVar[dict[str, Any]] = {"channels": 2, "attention": (), "shared_dim": 8}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.categories < 2 or self.shared_dim < 1:
            raise ConfigError(f"categories {self.categories} must be at least 2, and shared_dim {self.shared_dim} at least 1")


class Generator(biggan.Generator):
    """Joint latent vectors to images.

    Args:
        config: the architecture.
        spec: size and channels of the images.
        latent_dim: length of z, the code's categories included.
    """

    def __init__(self, config: GeneratorConfig, spec: ImageSpec, latent_dim: int) -> None:
        if latent_dim <= config.categories:
            raise ConfigError(f"generator: a latent of {latent_dim} leaves nothing beside its {config.categories} categories")
        super().__init__(config, dataclasses.replace(spec, num_classes=config.categories), latent_dim - config.categories)
        self.sizes = (latent_dim - config.categories, config.categories)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """z: (B, latent_dim); y is not used. Returns (B, C, H, W) in [-1, 1]."""
        vector, code = z.split(self.sizes, dim=1)
        assert self.embed is not None, "GeneratorConfig sees to it"
        return self.synthesize(vector, code @ self.embed.weight)  # a one-hot row picks its embedding; differentiable in the code
