"""A game with an encoder, as small as one can be, until a test needs a real one: a GAN beside which a linear E is kept."""

from __future__ import annotations

from torch import nn

from biggan_scale.config import ImageSpec
from biggan_scale.games.gan import Config, Gan


class GanWithEncoder(Gan):
    """E: images to vectors as long as z. No move trains it."""

    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__(config, spec)
        self.E = nn.Sequential(nn.Flatten(), nn.Linear(spec.channels * spec.height * spec.width, self.prior.dim))

    def players(self) -> dict[str, tuple[nn.Module, ...]]:
        return {"D": (self.D,), "G": (self.G, self.E)}

    def averaged(self) -> dict[str, nn.Module]:
        return {"G": self.G, "E": self.E}
