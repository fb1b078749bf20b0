"""StyleGAN3's layers against the paper's figures, and what it is for: pictures that move as a whole."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from biggan_scale.config import ConfigError, ImageSpec
from biggan_scale.networks.stylegan3 import Generator, GeneratorConfig, Synthesis, layer_specs

T = GeneratorConfig(w_dim=8, channel_base=256, channel_max=16, conv_clamp=None)
R = GeneratorConfig(w_dim=8, channel_base=256, channel_max=16, kernel_size=1, radial=True, conv_clamp=None)


def test_layers_at_1024_px_are_the_papers() -> None:
    """Its configuration T. Sizes and widths as its released networks name their layers: L0_36_512 to L14_1024_3."""
    specs = layer_specs(GeneratorConfig(), ImageSpec(1024, 1024, 3, 0))
    assert [spec.rate for spec in specs] == [16, 16, 32, 32, 64, 128, 128, 256, 256, 512, 1024, 1024, 1024, 1024, 1024]
    assert [spec.size[1] for spec in specs] == [36, 36, 52, 52, 84, 148, 148, 276, 276, 532, 1044, 1044, 1044, 1024, 1024]
    assert [spec.channels for spec in specs] == [512] * 7 + [323, 203, 128, 81, 51, 32, 32, 3]
    assert (specs[0].cutoff, specs[-1].cutoff) == (2, 512)
    assert specs[0].half_width == pytest.approx(8 - 2) and specs[-1].half_width == pytest.approx(512 * (2**0.3 - 1))
    # The images' frequencies rise by the same factor from layer to layer, until the last two.
    steps = [math.log2(b.cutoff / a.cutoff) for a, b in itertools.pairwise(specs)]
    assert steps == pytest.approx([8 / 12] * 12 + [0, 0])


@pytest.mark.parametrize(
    ("config", "millions"),
    [(GeneratorConfig(), 22.3), (GeneratorConfig(kernel_size=1, radial=True, channel_base=65536, channel_max=1024), 15.1)],
    ids=["T", "R"],
)
def test_the_papers_sizes_have_its_numbers_of_parameters(config: GeneratorConfig, millions: float) -> None:
    network = Generator(config, ImageSpec(1024, 1024, 3, 0), 512)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def moved(synthesis: Synthesis, ws: Tensor, matrix: list[list[float]]) -> Tensor:
    """Images whose Fourier features are looked up at these places."""
    synthesis.input.transform.copy_(torch.tensor(matrix))
    try:
        return synthesis(ws)
    finally:
        synthesis.input.transform.copy_(torch.eye(3))


def psnr(a: Tensor, b: Tensor, peak: Tensor) -> float:
    return float(10 * torch.log10(peak.square() / (a - b).square().mean()))


@pytest.fixture(scope="module", params=[T, R], ids=["T", "R"])
def synthesis(request: pytest.FixtureRequest) -> Synthesis:
    torch.manual_seed(0)
    with torch.no_grad():
        network = Synthesis(request.param, ImageSpec(32, 32, 3, 0)).double()
        _, magnitudes = network.observed(torch.randn(4, network.num_ws, 8, dtype=torch.float64))
        network.magnitudes.copy_(magnitudes.mean(0))
    return network


@torch.no_grad()
@pytest.mark.parametrize("shift", [2.0, 0.5])
def test_images_follow_a_translation(synthesis: Synthesis, shift: float) -> None:
    """A shift by pixels, or by a part of one: against the still image moved by its spectrum, in the middle."""
    ws = torch.randn(2, synthesis.num_ws, 8, dtype=torch.float64)
    still = synthesis(ws)
    images = moved(synthesis, ws, [[1, 0, -shift / 32], [0, 1, 0], [0, 0, 1]])  # to the right
    frequencies = torch.fft.rfftfreq(32, dtype=torch.float64)
    expected = torch.fft.irfft(torch.fft.rfft(still) * torch.exp(-2j * math.pi * frequencies * shift), n=32)
    middle = (..., slice(8, -8), slice(8, -8))
    peak = still.amax() - still.amin()
    achieved, unmoved = (psnr(images[middle], other[middle], peak) for other in (expected, still))
    assert achieved > 50 and achieved > unmoved + 8


@torch.no_grad()
def test_r_follows_a_quarter_turn_exactly_and_t_does_not(synthesis: Synthesis) -> None:
    ws = torch.randn(2, synthesis.num_ws, 8, dtype=torch.float64)
    turned, still = moved(synthesis, ws, [[0, -1, 0], [1, 0, 0], [0, 0, 1]]), synthesis(ws)
    difference = min(float((turned - still.rot90(k, (2, 3))).abs().max()) for k in (1, -1))
    if synthesis.layers[0].weight.shape[2] == 1:
        assert difference < 1e-9 * float(still.abs().max())
    else:
        assert difference > 0.1 * float(still.std())


@torch.no_grad()
def test_layers_divide_by_the_running_magnitude_of_their_input() -> None:
    torch.manual_seed(0)
    network = Generator(T, ImageSpec(32, 32, 3, 0), 8)
    ws = torch.randn(3, network.num_ws, 8)
    images, squares = network.observed(ws, None)
    assert torch.equal(images, network.synthesis(ws)) and squares.shape == (3, 15) == (3, len(network.magnitudes))
    torch.testing.assert_close(squares[:, 0], network.synthesis.input(ws[:, 0]).square().mean((1, 2, 3)))
    network.magnitudes[14] = 4.0  # of the RGB layer, which is linear
    torch.testing.assert_close(network.synthesis(ws), images / 2, rtol=1e-4, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("config", [T, R], ids=["T", "R"])
def test_images_need_not_be_square(config: GeneratorConfig) -> None:
    network = Generator(config, ImageSpec(32, 64, 3, 0), 8)
    assert network(torch.randn(2, 8)).shape == (2, 3, 32, 64)


def test_sizes_that_it_cannot_make_are_refused() -> None:
    for height, width in ((48, 48), (4, 4), (32, 33)):
        with pytest.raises(ConfigError, match=rf"data\.resolution {height} x {width}"):
            layer_specs(T, ImageSpec(height, width, 3, 0))
    with pytest.raises(ValueError, match="num_critical 3 must be from 1 to num_layers - 1, which is 2"):
        GeneratorConfig(num_layers=3, num_critical=3)
