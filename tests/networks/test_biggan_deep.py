from __future__ import annotations

from typing import Any

import pytest
import torch

from biggan_scale.config import ConfigError, ImageSpec
from biggan_scale.networks.biggan import D_WIDTHS
from biggan_scale.networks.biggan_deep import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig


def spec(resolution: int = 32, num_classes: int = 5) -> ImageSpec:
    return ImageSpec(resolution, resolution, 3, num_classes)


@pytest.mark.parametrize("num_classes", [0, 5])
@pytest.mark.parametrize("resolution", D_WIDTHS)
def test_every_resolution_generates_and_is_judged(resolution: int, num_classes: int) -> None:
    image_spec = spec(resolution, num_classes)
    G = Generator(GeneratorConfig(channels=2, shared_dim=6), image_spec, 7)
    D = Discriminator(DiscriminatorConfig(channels=2), image_spec)
    y = torch.arange(2) if num_classes else None
    images = G(torch.randn(2, 7), y)
    assert images.shape == (2, 3, resolution, resolution) and images.abs().max() <= 1
    scores = D(images, y)
    assert scores.shape == (2,)
    scores.sum().backward()
    assert all(p.grad is not None for network in (G, D) for p in network.parameters())


@pytest.mark.parametrize(("resolution", "millions"), [(128, 50.4), (256, 55.9), (512, 56.2)])
def test_sizes_are_the_published_ones(resolution: int, millions: float) -> None:
    """Of the public generators, whose last convolution gives 128 channels of which 3 are kept: here it gives the 3."""
    with torch.device("meta"):
        G = Generator(GeneratorConfig(attention=(64,), init="normal", spectral_norm=False), spec(resolution, 1000), 128)
    dropped = 125 * (9 * 128 + 1)
    assert round((sum(p.numel() for p in G.parameters()) + dropped) / 1e6, 1) == millions


def test_every_norm_is_given_all_of_z_and_the_class() -> None:
    G = Generator(GeneratorConfig(channels=4, shared_dim=6), spec(), 7)
    widths = {tuple(module.weight.shape)[1] for name, module in G.named_modules() if name.endswith((".gain", ".bias"))}
    assert widths == {6 + 7} and G.linear.weight.shape[1] == 6 + 7
    assert len(G.blocks) == 6


def test_widths_can_be_given_block_by_block() -> None:
    usual, same = (Generator(GeneratorConfig(2, widths=widths, shared_dim=6), spec(), 7) for widths in ((), (4,) * 7))
    assert [p.shape for p in usual.parameters()] == [p.shape for p in same.parameters()]
    G = Generator(GeneratorConfig(2, widths=(16, 16, 8, 8, 4, 2, 1), shared_dim=6, attention=(16,)), spec(), 7)
    assert [block.conv4.weight.shape[0] for block in G.blocks] == [32, 16, 16, 8, 4, 2]  # type: ignore[union-attr]
    assert G.blocks[4].conv1.weight.shape[0] == 8 // 4 and list(G.attention) == ["3"]  # type: ignore[union-attr]
    assert G(torch.randn(2, 7), torch.arange(2)).shape == (2, 3, 32, 32)


@pytest.mark.parametrize(("widths", "resolution", "needed"), [((4, 4, 4, 4), 32, 7), ((4,) * 7, 64, 9)])
def test_widths_that_do_not_make_the_resolution_are_refused(widths: tuple[int, ...], resolution: int, needed: int) -> None:
    with pytest.raises(ConfigError, match=f"{len(widths)} widths, but {resolution} px need {needed}:"):
        Generator(GeneratorConfig(2, widths=widths), spec(resolution), 7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda **options: GeneratorConfig(hierarchical=False, **options), "hierarchical: false is not BigGAN-deep"),
        (lambda **options: GeneratorConfig(upsampling="bilinear", **options), "upsampling bilinear is not BigGAN-deep's"),
        (lambda **options: DiscriminatorConfig(wide=False, **options), "wide: false is not BigGAN-deep"),
        (lambda **options: GeneratorConfig(widths=(4, 0), **options), r"widths \[4, 0\] must be at least 1"),
        (lambda **options: GeneratorConfig(depth=0, **options), "bottleneck 4 and depth 0 must be at least 1"),
        (lambda **options: DiscriminatorConfig(bottleneck=0, **options), "bottleneck 0 and depth 2 must be at least 1"),
    ],
)
def test_what_is_not_biggan_deep_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(channels=2)
