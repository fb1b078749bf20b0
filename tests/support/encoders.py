"""A game with an encoder, as small as one can be: a GAN beside which a linear E is kept."""

from __future__ import annotations

from torch import Tensor, nn

from biggan_scale.config import ImageSpec
from biggan_scale.games.gan import Config, Gan
from biggan_scale.nn.posterior import Encoder


class LinearEncoder(Encoder):
    def __init__(self, spec: ImageSpec, latent_dim: int) -> None:
        super().__init__(24, 24, latent_dim, stochastic=False)
        self.linear = nn.Linear(spec.channels * spec.height * spec.width, 24)

    def features(self, images: Tensor) -> Tensor:
        return self.linear(images.flatten(1))


class GanWithEncoder(Gan):
    """E: images to vectors as long as z. No move trains it."""

    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__(config, spec)
        self.E = LinearEncoder(spec, self.prior.dim)

    def players(self) -> dict[str, tuple[nn.Module, ...]]:
        return {"D": (self.D,), "G": (self.G, self.E)}

    def averaged(self) -> dict[str, nn.Module]:
        return {"G": self.G, "E": self.E}
