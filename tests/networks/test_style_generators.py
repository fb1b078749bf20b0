"""What the generators of the StyleGAN line have in common: they export with a batch of any size, and need no square images."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from biggan_scale.config import ImageSpec
from biggan_scale.networks import stylegan1, stylegan2, stylegan3


def generator(module: Any, spec: ImageSpec) -> Any:
    torch.manual_seed(0)
    return module.Generator(module.GeneratorConfig(**module.GeneratorConfig.TINY), spec, 6).eval().requires_grad_(False)


every_generator = pytest.mark.parametrize("module", [stylegan1, stylegan2, stylegan3], ids=lambda module: module.__name__.split(".")[-1])


@every_generator
def test_it_exports_with_a_batch_of_any_size(module: Any) -> None:
    G = generator(module, ImageSpec(16, 16, 3, 4))
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(G, (torch.randn(3, 6), torch.tensor([0, 1, 3])), dynamic_shapes=({0: batch}, {0: batch}))
    for number in (1, 5):
        z, y = torch.randn(number, 6), torch.randint(4, (number,))
        torch.testing.assert_close(program.module()(z, y), G(z, y))


@every_generator
@pytest.mark.parametrize(("height", "width"), [(16, 32), (48, 16)])
def test_images_need_not_be_square(module: Any, height: int, width: int) -> None:
    G = generator(module, ImageSpec(height, width, 3, 0))
    images = G(torch.randn(2, 6), noise=torch.randn(2, G.num_noise))
    assert images.shape == (2, 3, height, width) and images.isfinite().all() and images.std() > 0


def test_stylegan2_starts_from_4x8_and_its_discriminator_ends_there() -> None:
    spec = ImageSpec(16, 32, 3, 0)
    assert generator(stylegan2, spec).synthesis.constant.shape[1:] == (4, 8)
    D = stylegan2.Discriminator(stylegan2.DiscriminatorConfig(**stylegan2.DiscriminatorConfig.TINY), spec)
    assert D.linear.weight.shape[1] == 8 * 4 * 8 and D(torch.randn(4, 3, 16, 32)).shape == (4,)


@every_generator
def test_every_w_styles_its_own_image(module: Any) -> None:
    """Of its own image alone; no w is left out."""
    G = generator(module, ImageSpec(16, 16, 3, 0))
    ws = torch.randn(2, G.num_ws, 8)
    image = G.synthesis(ws)
    for i in range(G.num_ws):
        changed = ws.clone()
        changed[0, i] += 1
        difference = (G.synthesis(changed) - image).abs().amax((1, 2, 3))
        if module is stylegan3 and i == 0:  # moves nothing at first: its affine layer begins at 0
            assert difference[0] == 0
        else:
            assert difference[0] > 1e-4 and difference[1] < 1e-5


def test_stylegan1_at_1024_px_has_the_papers_numbers_of_parameters() -> None:
    spec = ImageSpec(1024, 1024, 3, 0)
    with torch.device("meta"):
        G = stylegan1.Generator(stylegan1.GeneratorConfig(), spec, 512)
        D = stylegan2.Discriminator(stylegan2.DiscriminatorConfig(channel_base=16384, architecture="orig"), spec)
    millions = [sum(p.numel() for p in network.parameters()) / 1e6 for network in (G, D)]
    assert millions == pytest.approx([26.2, 23.1], abs=0.05)
    assert G.num_ws == 18
