"""Small convolutional networks for pairs (x, z): generator, encoder and discriminators, for square images of 16 px and more.

DCGAN's (`networks/dcgan.py`), which BiGAN builds on (Donahue et al. 2017, 1605.09782, appendix C), without norms in D. The joint
discriminator puts z in behind the convolutions.

G: z -> linear -> 4x4 -> [norm, relu, transposed convolution] per doubling -> tanh
E: image -> [convolution, norm, leaky relu] per halving -> 4x4, flat -> mean (and standard deviation) of z
D: image -> [convolution, leaky relu] per halving -> 4x4, flat -> score; the joint one: with z, residual perceptrons -> scores
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from biggan_scale.config import ImageSpec
from biggan_scale.networks.dcgan import BOTTOM, ImageFeatures, halvings, initialize, norms_between, through, widths_down
from biggan_scale.networks.dcgan import Discriminator as Discriminator
from biggan_scale.networks.dcgan import DiscriminatorConfig as DcganDiscriminatorConfig
from biggan_scale.networks.dcgan import Generator as Generator
from biggan_scale.networks.dcgan import GeneratorConfig as GeneratorConfig
from biggan_scale.nn import posterior
from biggan_scale.nn.joint_scores import JointScores


@dataclass(frozen=True)
class EncoderConfig:
    channels: int = 64  # c: the width at half resolution
    norm: Literal["batch", "group", "none"] = "batch"  # between the layers, not on the image
    stochastic: bool = False  # q(z | x) with a standard deviation (ALI); false: a point (BiGAN)

    TINY: ClassVar = {"channels": 4}


@dataclass(frozen=True)
class DiscriminatorConfig(DcganDiscriminatorConfig):
    norm: Literal["batch", "group", "none"] = "none"  # between the layers, not on the image
    spectral_norm: bool = True  # normalise every layer
    init: Literal["orthogonal", "normal", "xavier"] = "orthogonal"  # how weights are drawn; normal: N(0, 0.02)


@dataclass(frozen=True)
class JointDiscriminatorConfig:
    channels: int = 64  # c: the width at half resolution
    mlp_width: int = 512  # of the perceptrons that see z
    mlp_blocks: int = 1  # residual blocks of two layers in each of them
    spectral_norm: bool = True  # normalise every layer

    TINY: ClassVar = {"channels": 4, "mlp_width": 8}


class Encoder(posterior.Encoder):
    """Images to latent vectors.

    Args:
        config: the architecture.
        spec: size and channels of the images.
        latent_dim: length of z.
    """

    def __init__(self, config: EncoderConfig, spec: ImageSpec, latent_dim: int) -> None:
        widths = widths_down(config.channels, spec)
        num_features = widths[-1] * BOTTOM**2
        super().__init__(num_features, num_features, latent_dim, config.stochastic)
        self.convs = halvings(spec.channels, widths)
        self.norms = norms_between(widths, config.norm)
        initialize(self)
        self.reset_spread()

    def features(self, images: Tensor) -> Tensor:
        return through(self.convs, self.norms, images)


class JointDiscriminator(ImageFeatures):
    """Pairs of image and latent vector to scores.

    Args:
        config: the architecture.
        spec: size and channels of the images.
        latent_dim: length of z.
        scores: which are wanted, of "xz" (the pair), "x" and "z" (each alone).
    """

    def __init__(self, config: JointDiscriminatorConfig, spec: ImageSpec, latent_dim: int, scores: Sequence[str]) -> None:
        super().__init__(config.channels, spec)
        self.scores = JointScores(self.num_features, latent_dim, config.mlp_width, config.mlp_blocks, scores)
        self.finish(config.spectral_norm)

    def forward(self, images: Tensor, z: Tensor) -> dict[str, Tensor]:
        """images: (B, C, H, W) in [-1, 1]; z: (B, latent_dim). Returns a (B,) score by name, before any sigmoid."""
        return self.scores(self.features(images), z)
