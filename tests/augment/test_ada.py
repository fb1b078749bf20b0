"""Adaptive augmentation: every transform against its closed form, derivatives, and the controller of p."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from biggan_scale.augment import bands, color
from biggan_scale.augment.ada import NUM_DRAWS, Ada, Config
from biggan_scale.augment.draws import Draws
from biggan_scale.augment.warp import SYM6, rotation, scaling, translation, warp
from biggan_scale.config import ConfigError, ImageSpec
from biggan_scale.export.importers import _persistent
from biggan_scale.losses.penalties import squared_gradient

SPEC = ImageSpec(16, 16, 3, 0)
EVERYTHING = dict.fromkeys([*NUM_DRAWS, "noise"], 1.0)


def images(batch: int = 3, height: int = 16, width: int = 16) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, dtype=torch.float64) * 2 - 1


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def only(name: str, p: float = 1.0, **options: Any) -> Ada:
    return Ada(Config(**(dict.fromkeys(EVERYTHING, 0.0) | {name: 1.0, "p": p} | options)), SPEC).double()


def test_with_p_0_images_are_left_as_they_are() -> None:
    ada, x = Ada(Config(**EVERYTHING), ImageSpec(16, 24, 3, 0)).double(), images(width=24)
    torch.testing.assert_close(ada(x, torch.rand(3, ada.num_draws, dtype=torch.float64)), x, rtol=0, atol=1e-6)


def test_all_draws_are_announced_and_used() -> None:
    for name in EVERYTHING:
        ada = only(name)
        uniforms = torch.rand(2, ada.num_draws, dtype=torch.float64)
        assert not torch.allclose(ada(images(2), uniforms), images(2))
        with pytest.raises(AssertionError, match="more draws than it announced"):
            ada(images(2), uniforms[:, :-1])


def test_a_warp_by_whole_pixels_is_exact_and_by_right_angles_on_smooth_images() -> None:
    x = images(1)
    torch.testing.assert_close(warp(x, translation(column(3), column(-2)))[:, :, 3:, :-4], x[:, :, 1:-2, 3:-1], rtol=0, atol=1e-6)
    smooth = torch.nn.functional.interpolate(images(1, 4, 4), (16, 16), mode="bicubic")
    turned, flipped = warp(smooth, rotation(column(math.pi / 2))), warp(smooth, scaling(column(-1), column(1)))
    # The filter is not quite symmetric, so these are exact but for a fraction of the finest details.
    assert (turned - smooth.rot90(1, (2, 3))).std() < 0.15 * smooth.std() < (turned - smooth.rot90(-1, (2, 3))).std()
    assert (flipped - smooth.flip(3)).std() < 0.15 * smooth.std() < (flipped - smooth).std()


def test_a_warp_moves_a_smooth_pattern_to_where_the_matrix_says() -> None:
    """A long cosine, whose values at any place are known; away from the borders, where it is reflected."""
    places = torch.arange(48, dtype=torch.float64) - 23.5
    y, x = torch.meshgrid(places, places, indexing="ij")

    def pattern(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.cos(0.3 * x + 0.5) * torch.sin(0.2 * y)

    matrix = rotation(column(0.4)) @ scaling(column(1.2), column(0.8)) @ translation(column(1.3), column(-0.6))
    to = matrix[0] @ torch.stack([x.flatten(), y.flatten(), torch.ones(48 * 48, dtype=torch.float64)])
    expected = pattern(to[0], to[1]).view(48, 48)
    found = warp(pattern(x, y)[None, None], matrix)[0, 0]
    torch.testing.assert_close(found[12:-12, 12:-12], expected[12:-12, 12:-12], rtol=0, atol=0.02)


def test_the_filters_are_those_of_the_reference() -> None:
    """Stored in a pickle of github.com/NVlabs/stylegan2-ada-pytorch."""
    (file,) = (Path(__file__).parents[1] / "compat/stylegan2_ada/r32_uncond").glob("*.pkl")
    stored = dict(_persistent.read(file)["augment_pipe"].tensors())
    np.testing.assert_allclose(bands.bank().numpy(), stored["Hz_fbank"].numpy(), atol=1e-7)
    np.testing.assert_allclose(np.array(SYM6) / np.sum(SYM6), (stored["Hz_geom"] / stored["Hz_geom"].sum()).numpy(), atol=1e-7)


def test_bands_sum_to_the_image_and_the_lowest_keeps_a_constant() -> None:
    x = images(2)
    sums = bands.bank().sum(0).expand(2, -1)
    torch.testing.assert_close(bands.filtered(x, sums), x, rtol=0, atol=1e-9)
    flat = torch.full((1, 3, 16, 16), 0.7, dtype=torch.float64)
    torch.testing.assert_close(bands.filtered(flat, bands.bank()[:1]), flat, rtol=0, atol=1e-9)
    assert bands.filtered(flat, bands.bank()[3:]).abs().max() < 1e-9


def test_colours_follow_their_closed_forms() -> None:
    x = images(1)
    torch.testing.assert_close(color.apply(x, color.brightness(column(0.25))), x + 0.25)
    torch.testing.assert_close(color.apply(x, color.contrast(column(1.5))), x * 1.5)
    grey = x.mean(1, keepdim=True)
    torch.testing.assert_close(color.apply(x, color.saturation(column(0.0))), grey.expand_as(x))
    torch.testing.assert_close(color.apply(x, color.saturation(column(3.0))), grey + 3 * (x - grey))
    flipped = color.apply(x, color.luma_flip(column(1.0)))
    torch.testing.assert_close(flipped, x - 2 * grey)
    torch.testing.assert_close(color.apply(x, color.luma_flip(column(0.0))), x)
    torch.testing.assert_close(color.apply(x, color.hue(column(2 * math.pi / 3))), x.roll(1, 1))  # a third of a turn: R to G to B
    torch.testing.assert_close(color.apply(x, color.hue(column(0.0))), x)


def test_grey_images_get_the_mean_of_the_colours() -> None:
    ada = Ada(Config(p=1.0), ImageSpec(16, 16, 1, 0)).double()
    assert ada(images(2)[:, :1], torch.rand(2, ada.num_draws, dtype=torch.float64)).shape == (2, 1, 16, 16)
    x = images(1)[:, :1]
    torch.testing.assert_close(color.apply(x, color.luma_flip(column(1.0))), -x)


def test_each_transform_happens_with_probability_p() -> None:
    """Luma flips are heads half of the times that they happen: of 4000 images at p = 0.6, 1200 +- 5 standard deviations of 29."""
    ada, x = only("color", p=0.6), torch.ones(1, 3, 1, 1, dtype=torch.float64)
    ada.config = Config(p=0.6, color=1.0)
    gates = torch.rand(4000, 10, dtype=torch.float64)
    gates[:, [1, 3, 7, 9]] = 1.0  # none but the flip happens
    flips = color.apply(x.expand(4000, -1, -1, -1), ada._colors(Draws(gates)))[:, 0, 0, 0] < 0
    assert abs(int(flips.sum()) - 1200) < 5 * 29


def test_normal_draws_are_normal_and_finite() -> None:
    draws = Draws(torch.rand(200_000, 1, dtype=torch.float64)).normal()
    assert abs(float(draws.mean())) < 5 / 447 and float(draws.std()) == pytest.approx(1, abs=5 / 632)
    assert torch.isfinite(Draws(torch.tensor([[0.0], [1 - 2.0**-24]])).normal()).all()


def test_cutout_blackens_a_square_of_half_the_size() -> None:
    ada, x = only("cutout"), torch.ones(1, 3, 16, 16, dtype=torch.float64)
    y = ada(x, torch.tensor([[0.0, 0.5, 0.25]], dtype=torch.float64))
    assert (y == 0).sum() == 3 * 8 * 8 and not y[0, :, :8, 4:12].any()


def test_noise_has_the_announced_size() -> None:
    ada = only("noise")
    uniforms = torch.rand(200, ada.num_draws, dtype=torch.float64)
    change = ada(images(200), uniforms) - images(200)  # not the same images: drawn again
    x = torch.zeros(200, 3, 16, 16, dtype=torch.float64)
    change = ada(x, uniforms)
    sigma = Draws(uniforms).normal().abs() * 0.1
    torch.testing.assert_close(change.flatten(1).std(1), sigma[:, 0], rtol=0.15, atol=1e-4)


@pytest.mark.parametrize("name", EVERYTHING)
def test_every_transform_has_two_derivatives(name: str) -> None:
    ada = only(name)
    uniforms = torch.rand(1, ada.num_draws, dtype=torch.float64)
    x = images(1).requires_grad_()
    direction = torch.randn_like(x)
    # Transforms are linear (or affine) in the image: T(x + h d) - T(x) = h T'(x) d exactly, and the second derivative of |T|^2 is constant.
    with torch.no_grad():
        step = ada(x + direction, uniforms) - ada(x, uniforms)
    y = ada(x, uniforms)
    (gradient,) = torch.autograd.grad(y.square().sum() / 2, x, create_graph=True)
    torch.testing.assert_close((gradient * direction).sum(), (y * step).sum())
    (hessian_product,) = torch.autograd.grad((gradient * direction).sum(), x)
    torch.testing.assert_close((hessian_product * direction).sum(), step.square().sum())


def test_an_images_augmentation_depends_on_its_own_draws_only() -> None:
    ada, x = Ada(Config(**(EVERYTHING | {"p": 0.8})), SPEC).double(), images(4)
    uniforms = torch.rand(4, ada.num_draws, dtype=torch.float64)
    apart = torch.cat([ada(x[i : i + 1], uniforms[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(ada(x, uniforms), apart, rtol=0, atol=1e-12)


def test_p_moves_towards_the_target_by_images_seen() -> None:
    ada = Ada(Config(kimg=1.0, every=4), SPEC)
    for round in range(9):  # 32 images each: adjusted when rounds 4 and 8 begin, by 128 / 1000
        ada.adapt(torch.tensor(0.9), round * 32, round)
    assert float(ada.p) == pytest.approx(0.256)
    for round in range(9, 13):
        ada.adapt(torch.tensor(-0.2), round * 32, round)
    assert float(ada.p) == pytest.approx(0.128)  # round 12 judges round 8's 0.9 with three of -0.2
    still = Ada(Config(target=None, p=0.3), SPEC)
    still.adapt(torch.tensor(1.0), 128, 4)
    assert float(still.p) == pytest.approx(0.3)


def test_p_stays_between_0_and_1() -> None:
    ada = Ada(Config(kimg=0.01, every=1), SPEC)
    for sign, expected in ((1.0, 1.0), (-1.0, 0.0)):
        for round in range(1, 5):
            ada.adapt(torch.tensor(sign), round * 32, round)
        assert float(ada.p) == expected
        ada.last.zero_()


def test_what_cannot_be_augmented_is_said() -> None:
    with pytest.raises(ConfigError, match="too small; at least 11"):
        Ada(Config(), ImageSpec(8, 8, 3, 0))
    with pytest.raises(ConfigError, match="4 channels have no colours"):
        Ada(Config(), ImageSpec(16, 16, 4, 0))
    with pytest.raises(ValueError, match=r"color 2\.0 must be in"):
        Config(color=2.0)


def test_r1_through_all_transforms_is_that_of_finite_differences() -> None:
    """By the images, every pixel moved alone; and by a weight of D."""
    torch.manual_seed(0)
    ada, x = Ada(Config(**(EVERYTHING | {"p": 1.0})), SPEC).double(), images(1)
    uniforms = torch.rand(1, ada.num_draws, dtype=torch.float64)
    D = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(768, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1), torch.nn.Flatten(0)
    ).double()

    def r1() -> torch.Tensor:
        y = x.clone().requires_grad_()
        return squared_gradient(D(ada(y, uniforms)), y).sum()

    steps = 1e-5 * torch.eye(768, dtype=torch.float64).view(768, 3, 16, 16)
    with torch.no_grad():
        ends = [D(ada(x + sign * steps, uniforms.expand(768, -1))) for sign in (1, -1)]
    torch.testing.assert_close(r1(), ((ends[0] - ends[1]) / 2e-5).square().sum(), rtol=1e-6, atol=0)
    weight, h = D[1].weight, 1e-6
    r1().backward()
    for index in ((0, 5), (3, 700)):
        moved = []
        for sign in (1, -1):
            weight.data[index] += sign * h
            moved.append(float(r1().detach()))
            weight.data[index] -= sign * h
        assert (moved[0] - moved[1]) / (2 * h) == pytest.approx(float(weight.grad[index]), rel=1e-5, abs=1e-8)
