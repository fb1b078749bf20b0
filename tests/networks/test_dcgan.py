from __future__ import annotations

import pytest
import torch
from torch import nn

from biggan_scale.config import ConfigError, ImageSpec
from biggan_scale.networks.dcgan import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from biggan_scale.nn import spectral_norm

SPEC = ImageSpec(64, 64, 3, 0)


def test_parameters_are_those_of_the_papers_widths() -> None:
    """1024, 512, 256, 128 channels at 4 to 32 px, counted by hand: 4x4 convolutions with biases, norms with gain and bias."""
    widths = [1024, 512, 256, 128]
    convs = sum(a * b * 16 for a, b in zip(widths, [*widths[1:], 3], strict=True))
    G, D = Generator(GeneratorConfig(128), SPEC, 100), Discriminator(DiscriminatorConfig(128), SPEC)
    in_g = 100 * 1024 * 16 + 1024 * 16 + convs + sum(widths[1:]) + 3 + 2 * sum(widths)
    assert sum(p.numel() for p in G.parameters()) == in_g
    in_d = convs + sum(widths) + 2 * sum(widths[:-1]) + 1024 * 16 + 1  # no norm behind the first layer
    assert sum(p.numel() for p in D.parameters()) == in_d


def test_weights_are_drawn_as_in_the_paper() -> None:
    for network in (Generator(GeneratorConfig(32), SPEC, 100), Discriminator(DiscriminatorConfig(32), SPEC)):
        weights = torch.cat([m.weight.flatten() for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)])
        assert weights.std().item() == pytest.approx(0.02, rel=0.01)
        assert abs(weights.mean().item()) < 1e-3


def test_images_are_made_and_judged() -> None:
    images = Generator(GeneratorConfig(4), SPEC, 6)(torch.rand(2, 6))
    assert images.shape == (2, 3, 64, 64)
    assert images.abs().max() <= 1
    assert Discriminator(DiscriminatorConfig(4), SPEC)(images).shape == (2,)


def test_spectral_norm_takes_every_layer() -> None:
    D = Discriminator(DiscriminatorConfig(4, norm="none", spectral_norm=True), SPEC)
    layers = {module for module in D.modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    assert {layer for layer, _ in spectral_norm.normalised(D)} == layers


def test_classes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.num_classes 9: this discriminator knows no classes"):
        Discriminator(DiscriminatorConfig(4), ImageSpec(64, 64, 3, 9))
