from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from biggan_scale.losses.penalties import finite_difference, slope_excess, squared_gradient, squared_gradient_of


class Quadratic(nn.Module):
    """D(x) = x^T A x / 2 + b^T x with symmetric A: the gradient is A x + b."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        a = torch.randn(dim, dim, dtype=torch.float64)
        self.A, self.b = nn.Parameter(a + a.T), nn.Parameter(torch.randn(dim, dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1)
        return (x @ self.A * x).sum(1) / 2 + x @ self.b


def test_squared_gradient_is_the_closed_form_and_so_is_its_gradient() -> None:
    D, images = Quadratic(12), torch.randn(5, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    penalty = squared_gradient(D(images), images)
    slope = images.detach().flatten(1) @ D.A + D.b  # (B, 12)
    torch.testing.assert_close(penalty, slope.square().sum(1))
    penalty.sum().backward()
    torch.testing.assert_close(D.b.grad, 2 * slope.sum(0))


def test_squared_gradient_of_a_deep_network_is_that_of_finite_differences() -> None:
    D = nn.Sequential(nn.Flatten(), nn.Linear(8, 16), nn.Softplus(), nn.Linear(16, 1), nn.Flatten(0)).double()
    images = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    penalty, h, expected = squared_gradient(D(images), images), 1e-5, torch.zeros(3, dtype=torch.float64)
    for i in range(8):
        step = torch.zeros(8, dtype=torch.float64)
        step[i] = h
        step = step.view(2, 2, 2)
        expected += ((D(images + step) - D(images - step)) / (2 * h)).square()
    torch.testing.assert_close(penalty, expected, rtol=1e-7, atol=0)


def test_finite_difference_estimates_the_squared_gradient_without_bias() -> None:
    """On a linear D the estimate is |g|^2 chi^2_1 for every step size: mean |g|^2, standard deviation sqrt(2) |g|^2."""
    D, draws = Quadratic(12), 20_000
    D.A.data.zero_()
    images = torch.zeros(draws, 3, 2, 2, dtype=torch.float64)
    expected = D.b.square().sum().item()
    for sigma in (1.0, 0.01):
        estimate = finite_difference(D(images), D(images + sigma * torch.randn_like(images)), sigma)
        assert estimate.mean().item() == pytest.approx(expected, rel=5 * 2**0.5 / draws**0.5)
        assert estimate.std().item() == pytest.approx(2**0.5 * expected, rel=0.1)


def test_finite_difference_trains_as_the_squared_gradient_does() -> None:
    """Their gradients by the parameters agree on average over steps."""
    D, images = Quadratic(4), torch.randn(1, 1, 2, 2, dtype=torch.float64)
    many = images.expand(40_000, -1, -1, -1)
    finite_difference(D(many), D(many + 1e-3 * torch.randn_like(many)), 1e-3).mean().backward()
    estimated, D.b.grad = D.b.grad, None
    images.requires_grad_()
    squared_gradient(D(images), images).sum().backward()
    torch.testing.assert_close(estimated, D.b.grad, rtol=0.05, atol=0.05 * float(D.b.grad.abs().max()))


def test_slope_excess_is_the_closed_form_and_has_a_derivative_where_there_is_no_slope() -> None:
    D, images = Quadratic(12), torch.randn(5, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    slope = images.detach().flatten(1) @ D.A + D.b
    torch.testing.assert_close(slope_excess(D(images), images), (slope.norm(dim=1) - 1).square())
    D.A.data.zero_(), D.b.data.zero_()
    flat = slope_excess(D(images), images)
    torch.testing.assert_close(flat, torch.ones(5, dtype=torch.float64))
    flat.sum().backward()
    assert D.A.grad.isfinite().all()


def deep_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Softplus(), nn.Flatten(), nn.Linear(64, 1), nn.Flatten(0)).double()


def gradients(D: nn.Module, penalty: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(penalty.sum(), [p for p in D.parameters() if p.ndim > 1]))


def test_the_functional_form_is_the_same_bit_for_bit_and_so_are_its_gradients() -> None:
    D, images = deep_network(), torch.randn(3, 3, 4, 4, dtype=torch.float64)
    x = images.clone().requires_grad_()
    expected, (found, scores) = squared_gradient(D(x), x), squared_gradient_of(D, images)
    assert torch.equal(found, expected) and torch.equal(scores, D(images))
    assert all(torch.equal(a, b) for a, b in zip(gradients(D, found), gradients(D, expected), strict=True))
    again = squared_gradient_of(D, images)[1]
    torch.testing.assert_close(gradients(D, again)[0], gradients(D, D(images))[0])  # a loss of the scores trains as ever


@pytest.mark.slow  # torch.compile takes half a minute, without a C++ compiler
def test_only_the_functional_form_can_be_compiled() -> None:
    D, images = deep_network(), torch.randn(3, 3, 4, 4, dtype=torch.float64)
    compiled = torch.compile(lambda x: squared_gradient_of(D, x)[0], backend="aot_eager")(images)
    expected = squared_gradient_of(D, images)[0]
    torch.testing.assert_close(compiled, expected)
    for a, b in zip(gradients(D, compiled), gradients(D, expected), strict=True):
        torch.testing.assert_close(a, b)
    x = images.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="double backward"):  # the day it does not, one form will do
        gradients(D, squared_gradient(torch.compile(D, backend="aot_eager")(x), x))
