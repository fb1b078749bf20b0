from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from biggan_scale.config import ImageSpec
from biggan_scale.dist.seeds import Noise
from biggan_scale.latent import normal, truncated, uniform
from biggan_scale.latent.interpolation import lerp, slerp
from biggan_scale.latent.truncation import truncated_normal

SPEC = ImageSpec(32, 32, 3, 0)


@pytest.mark.parametrize("threshold", [0.1, 0.5, 1.0, 2.0])
def test_truncated_normal_has_the_moments_of_redrawing(threshold: float) -> None:
    z = truncated_normal(torch.randn(200_000, generator=torch.Generator().manual_seed(0)).double(), threshold)
    density = math.exp(-(threshold**2) / 2) / math.sqrt(2 * math.pi)
    mass = math.erf(threshold / math.sqrt(2))
    variance = 1 - 2 * threshold * density / mass  # of a normal conditioned on |z| <= threshold
    assert z.abs().max() <= threshold
    assert z.var().item() == pytest.approx(variance, rel=0.02)


def test_truncation_keeps_the_order_and_the_sign_of_draws() -> None:
    z = torch.linspace(-5, 5, 101)
    mapped = truncated_normal(z, 0.5)
    assert (mapped.diff() >= 0).all()
    torch.testing.assert_close(truncated_normal(z, 50.0), z, atol=1e-5, rtol=0)


def test_priors_share_randomness_between_truncations() -> None:
    prior = normal.Normal(normal.Config(dim=6), SPEC)
    full, half = (prior.sample(Noise(0, range(3), "s"), t) for t in (None, 0.5))
    torch.testing.assert_close(half, truncated_normal(full, 0.5))
    scaled = normal.Normal(normal.Config(dim=6, truncation="scale"), SPEC).sample(Noise(0, range(3), "s"), 0.5)
    torch.testing.assert_close(scaled, full * 0.5)


def test_truncated_prior_never_exceeds_its_threshold() -> None:
    prior = truncated.Truncated(truncated.Config(dim=64, threshold=1.0), SPEC)
    assert prior.sample(Noise(0, range(64), "s")).abs().max() <= 1.0
    assert prior.sample(Noise(0, range(64), "s"), truncation=0.3).abs().max() <= 0.3


def test_a_scaled_truncated_prior_is_the_prior_times_its_scale() -> None:
    def drawn(scale: float, truncation: float | None) -> Tensor:
        return truncated.Truncated(truncated.Config(dim=64, scale=scale), SPEC).sample(Noise(0, range(64), "s"), truncation)

    torch.testing.assert_close(drawn(0.5, None), 0.5 * drawn(1.0, None))
    torch.testing.assert_close(drawn(0.5, 0.3), 0.5 * drawn(1.0, 0.6))
    assert 0.9 < drawn(0.5, None).abs().max() <= 1.0 and drawn(0.5, 0.3).abs().max() <= 0.3
    with pytest.raises(ValueError, match="scale 0 must be above 0"):
        truncated.Config(scale=0)


def test_slerp_keeps_the_norm_and_meets_both_ends() -> None:
    a, b = torch.tensor([[3.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 3.0], [1.0, 0.0]])
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)
    torch.testing.assert_close(slerp(a, b, 0.5).norm(dim=1), torch.tensor([3.0, 1.0]))
    torch.testing.assert_close(lerp(a, b, 0.5)[0], torch.tensor([1.5, 1.5]))


def test_uniform_prior_has_its_moments_and_shares_randomness() -> None:
    prior = uniform.Uniform(uniform.Config(dim=50), SPEC)
    z = prior.sample(Noise(0, range(2000), "z"))
    assert z.shape == (2000, 50)
    assert -1 <= z.min() < -0.99
    assert 0.99 < z.max() <= 1
    assert abs(z.mean().item()) < 0.01
    assert abs(z.var().item() - 1 / 3) < 0.01
    assert torch.equal(prior.sample(Noise(0, range(2000), "z"), truncation=0.5), z * 0.5)
