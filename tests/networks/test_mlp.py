from __future__ import annotations

import pytest
import torch

from biggan_scale.config import ConfigError, ImageSpec
from biggan_scale.networks.mlp import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from biggan_scale.nn import spectral_norm


@pytest.mark.parametrize("num_classes", [0, 3])
def test_shapes_and_range(num_classes: int) -> None:
    spec = ImageSpec(4, 6, 3, num_classes)
    generator, discriminator = Generator(GeneratorConfig(), spec, 5), Discriminator(DiscriminatorConfig(), spec)
    y = torch.tensor([0, 2]) if num_classes else None
    images = generator(100 * torch.randn(2, 5), y)
    assert images.shape == (2, 3, 4, 6)
    assert images.abs().max() <= 1
    assert discriminator(images, y).shape == (2,)


def test_labels_change_images_and_scores() -> None:
    spec = ImageSpec(4, 4, 1, 2)
    generator, discriminator = Generator(GeneratorConfig(), spec, 5), Discriminator(DiscriminatorConfig(), spec)
    z = torch.randn(1, 5)
    images = [generator(z, torch.tensor([label])) for label in range(2)]
    assert not torch.equal(*images)
    assert discriminator(images[0], torch.tensor([0])) != discriminator(images[0], torch.tensor([1]))


def test_spectral_norm_is_where_the_config_says() -> None:
    spec = ImageSpec(4, 4, 1, 2)
    assert len(list(spectral_norm.normalised(Discriminator(DiscriminatorConfig(depth=3), spec)))) == 5  # hidden, linear, embed
    assert len(list(spectral_norm.normalised(Generator(GeneratorConfig(depth=3, spectral_norm=True), spec, 5)))) == 4
    assert not list(spectral_norm.normalised(Generator(GeneratorConfig(), spec, 5)))


def test_no_layers_are_refused() -> None:
    with pytest.raises(ConfigError, match="depth 0"):
        GeneratorConfig(depth=0)
