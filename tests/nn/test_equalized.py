from __future__ import annotations

import math

import pytest
import torch

from biggan_scale.nn.equalized import EqualizedConv2d, EqualizedLinear, leaky_relu, normalize_second_moment


@pytest.mark.parametrize("multiplier", [1.0, 0.01])
def test_a_linear_layer_keeps_the_variance_and_starts_at_its_bias(multiplier: float) -> None:
    layer = EqualizedLinear(400, 500, bias=1.0, lr_multiplier=multiplier)
    assert layer.weight.std().item() == pytest.approx(1 / multiplier, rel=0.02)
    y = layer(torch.randn(200, 400))
    assert y.mean().item() == pytest.approx(1.0, abs=0.02)
    assert y.std().item() == pytest.approx(1.0, rel=0.05)


def test_a_step_of_the_optimizer_moves_the_used_weight_by_the_multiplier_over_the_root_of_the_fan_in() -> None:
    """Adam's first step is lr * sign(gradient) whatever the scale of the weight."""
    for multiplier in (1.0, 0.01):
        layer = EqualizedLinear(16, 3, lr_multiplier=multiplier)
        x = torch.randn(1, 16)
        before = layer(torch.eye(16)).detach()
        layer(x).sum().backward()
        torch.optim.Adam([layer.weight], lr=0.1, betas=(0.0, 0.9), eps=1e-12).step()
        moved = (layer(torch.eye(16)) - before).abs()
        torch.testing.assert_close(moved, torch.full_like(moved, 0.1 * multiplier / math.sqrt(16)), rtol=2e-2, atol=0)


def test_a_convolution_keeps_the_variance() -> None:
    y = EqualizedConv2d(64, 128, 3)(torch.randn(4, 64, 16, 16))[:, :, 1:-1, 1:-1]
    assert y.std().item() == pytest.approx(1.0, rel=0.05)
    assert EqualizedConv2d(4, 4, 1, bias=False).bias is None


def test_leaky_relu_keeps_the_second_moment_and_clamps_after_its_gain() -> None:
    x = torch.randn(100_000)
    # E[leaky(x)^2] = (1 + slope^2) / 2, times the gain's square
    assert leaky_relu(x).square().mean().item() == pytest.approx(1.04, rel=0.02)
    torch.testing.assert_close(leaky_relu(torch.tensor([-10.0, 1.0, 10.0]), 2.0, clamp=3.0), torch.tensor([-3.0, 2.0, 3.0]))


def test_rows_are_normalised() -> None:
    y = normalize_second_moment(torch.randn(5, 7) * 100)
    torch.testing.assert_close(y.square().mean(1), torch.ones(5))
