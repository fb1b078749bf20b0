from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from biggan_scale.config import ConfigError, ImageSpec
from biggan_scale.networks.r3gan import Block, Discriminator, DiscriminatorConfig, Generator, GeneratorConfig

SPEC = ImageSpec(32, 32, 3, 10)
SMALL = {"channel_base": 512, "channel_max": 32, "blocks": 1}


def test_parameters_are_those_of_the_papers_widths() -> None:
    """768 at 4, 8, 16 and 32 px, two blocks each; counted by hand."""
    inner = 2 * 768
    block = 2 * 768 * inner + inner * 16 * 9 + 2 * inner  # two 1x1, one 3x3 in groups of 16, two biases
    G, D = Generator(GeneratorConfig(), SPEC, 64), Discriminator(DiscriminatorConfig(), SPEC)
    assert sum(p.numel() for p in G.parameters()) == 8 * block + 10 * 64 + 128 * 768 + 768 * 16 + 768 * 3
    assert sum(p.numel() for p in D.parameters()) == 8 * block + 3 * 768 + 768 * 16 + 768 * 768 + 10 * 768


def test_widths_of_256_px() -> None:
    spec = ImageSpec(256, 256, 3, 0)
    with torch.device("meta"):
        D = Discriminator(DiscriminatorConfig(blocks=1), spec)
    assert [stage[0].widen.in_channels for stage in D.stages] == [96, 192, 384, 768, 768, 768, 768]
    assert [stage[0].mix.groups for stage in D.stages] == [12, 24, 48, 96, 96, 96, 96]


def test_resampling_is_a_doubled_pixel_behind_the_binomial_filter() -> None:
    fir = Generator(GeneratorConfig(**SMALL), SPEC, 6).fir
    x, binomial = torch.randn(2, 1, 5, 5), torch.tensor([1.0, 2.0, 1.0])
    kernel = torch.outer(binomial, binomial)[None, None] / 16
    torch.testing.assert_close(fir.upsample(x), F.conv2d(F.interpolate(x, scale_factor=2), kernel, padding=1))
    y = torch.randn(2, 1, 6, 6)
    torch.testing.assert_close(fir.downsample(y)[:, :, 1:-1, 1:-1], F.avg_pool2d(F.conv2d(y, kernel, padding=1), 2)[:, :, 1:-1, 1:-1])


@pytest.mark.parametrize("num_classes", [0, 10])
def test_images_are_made_and_judged(num_classes: int) -> None:
    spec = ImageSpec(16, 16, 1, num_classes)
    y = torch.tensor([0, 3]) if num_classes else None
    images = Generator(GeneratorConfig(**SMALL), spec, 6)(torch.randn(2, 6), y)
    assert images.shape == (2, 1, 16, 16)
    D = Discriminator(DiscriminatorConfig(**SMALL), spec)
    scores = D(images, y)
    assert scores.shape == (2,)
    if y is not None:
        assert not torch.equal(D(images, y + 1), scores)


def test_block_begins_as_the_identity_and_its_variance_as_fixup_has_it() -> None:
    block = Block(256, GeneratorConfig(), num_blocks=16)
    x = torch.randn(64, 256, 8, 8)
    assert torch.equal(block(x), x)
    assert block.widen(x).std().item() == pytest.approx((2 / 1.04) ** 0.5 / 2, rel=0.02)  # 16 ** -0.25 = 1 / 2
    assert block.mix.weight.std().item() == pytest.approx((2 / 1.04) ** 0.5 / 2 / (16 * 9) ** 0.5, rel=0.02)


def test_variance_of_images_at_the_start_does_not_grow_with_resolution() -> None:
    stds = []
    for resolution in (16, 64):
        torch.manual_seed(0)
        G = Generator(GeneratorConfig(**SMALL), ImageSpec(resolution, resolution, 3, 0), 64)
        stds.append(G(torch.randn(256, 64)).std().item())
    assert 0.3 < stds[0] < 2
    assert 0.3 < stds[1] < 2


@pytest.mark.parametrize(
    ("resolution", "changes", "message"),
    [(24, {}, r"data\.resolution 24: R3GAN's networks"), (32, {"channel_max": 20}, r"40 channels .* groups of 16")],
)
def test_what_does_not_fit_is_told(resolution: int, changes: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Generator(GeneratorConfig(**{**SMALL, **changes}), ImageSpec(resolution, resolution, 3, 0), 6)
