from __future__ import annotations

import torch

from biggan_scale.augment.diffaugment import Config, Diffaugment
from biggan_scale.config import ImageSpec

SPEC = ImageSpec(16, 16, 3, 0)


def augmented(name: str, x: torch.Tensor, *uniforms: float) -> torch.Tensor:
    augment = Diffaugment(Config((name,)), SPEC)  # type: ignore[arg-type]
    assert augment.num_draws == len(uniforms)
    return augment(x, torch.tensor(uniforms, dtype=torch.float64).expand(len(x), -1))


def test_colours_change_about_the_means() -> None:
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(augmented("color", x, 0.75, 0.5, 0.5), x + 0.25)  # brightness; saturation and contrast 1
    torch.testing.assert_close(augmented("color", x, 0.5, 0.0, 0.5), x.mean(1, keepdim=True).expand_as(x))
    mean = x.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(augmented("color", x, 0.5, 0.5, 0.0), mean + (x - mean) / 2)


def test_shifts_bring_in_black() -> None:
    x = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    y = augmented("translation", x, 0.0, 0.9999)  # rows by -2, columns by +2
    assert torch.equal(y[:, :, 2:, :14], x[:, :, :14, 2:]) and not y[:, :, :2].any() and not y[:, :, :, 14:].any()
    assert torch.equal(augmented("translation", x, 0.5, 0.5), x)


def test_a_square_of_half_the_size_is_cut_where_the_border_lets_it() -> None:
    x = torch.ones(1, 3, 16, 16, dtype=torch.float64)
    y = augmented("cutout", x, 0.5, 0.0)  # rows 4 to 11, columns -4 to 3
    assert not y[:, :, 4:12, :4].any() and int((y == 0).sum()) == 3 * 8 * 4


def test_all_of_it_has_two_derivatives() -> None:
    augment = Diffaugment(Config(), SPEC)
    x, u = torch.rand(1, 3, 16, 16, dtype=torch.float64, requires_grad=True), torch.rand(1, 7, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(augment(x, u).square().sum() / 2, x, create_graph=True)
    d = torch.randn_like(x)
    (product,) = torch.autograd.grad((gradient * d).sum(), x)
    with torch.no_grad():
        step = augment(x + d, u) - augment(x, u)
    torch.testing.assert_close((product * d).sum(), step.square().sum())


def test_half_of_the_images_are_mirrored() -> None:
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    assert torch.equal(augmented("flip", x, 0.49), x.flip(3)) and torch.equal(augmented("flip", x, 0.5), x)
