"""The Frechet distance against published implementations on seeded features, and against closed forms."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from biggan_scale.metrics.frechet import Statistics, frechet_distance, statistics

# The distance by torch-fidelity 0.4.0 (scipy 1.17.1, numpy 2.1.3); clean-fid 0.1.35 agrees within 1e-13 of it. The digests tell
# whether the features made here are the ones those packages saw.
REFERENCE = {
    "gauss": (
        dict(num_real=500, num_fake=500, dim=16, seed=1),
        ("a20c3b6680fe5e31", "126f8d58623ae704"),
        2.1944995213431966,
    ),
    "relu": (
        dict(num_real=1000, num_fake=1000, dim=64, seed=2, relu=True),
        ("c8b146576e7cc42c", "46d0be4ef7fa752c"),
        8.920280532975028,
    ),
    "rank_deficient": (
        dict(num_real=50, num_fake=50, dim=64, seed=3, relu=True),
        ("78eda017fe680082", "06c3e3bb1fd32dc4"),
        29.078158335577044,
    ),
    "unequal_numbers": (
        dict(num_real=600, num_fake=400, dim=32, seed=4),
        ("470d26f3922b30a4", "533250cf069af75c"),
        4.846338128531798,
    ),
    "same_distribution": (
        dict(num_real=1000, num_fake=1000, dim=32, seed=5, shift=0.0, scale=1.0),
        ("7d49ba1d092a84db", "12938d31050329ea"),
        0.37075147508944895,
    ),
}


def correlated_features(
    num_real: int, num_fake: int, dim: int, seed: int, relu: bool = False, shift: float = 0.3, scale: float = 1.2
) -> tuple[np.ndarray, np.ndarray]:
    """(num_real, dim) and (num_fake, dim); RandomState's stream is stable by numpy's own policy."""
    random = np.random.RandomState(seed)
    mix = random.randn(dim, dim) / np.sqrt(dim)
    real = random.randn(num_real, dim) @ mix + 0.5
    fake = (random.randn(num_fake, dim) * scale) @ mix + 0.5 + shift
    return (np.maximum(real, 0), np.maximum(fake, 0)) if relu else (real, fake)


def digest(features: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(np.round(features, 9) + 0.0).tobytes()).hexdigest()[:16]


@pytest.mark.parametrize(("recipe", "digests", "expected"), REFERENCE.values(), ids=REFERENCE)
def test_equals_the_published_implementations(recipe: dict, digests: tuple[str, str], expected: float) -> None:
    real, fake = correlated_features(**recipe)
    assert (digest(real), digest(fake)) == digests
    distance = frechet_distance(statistics(torch.from_numpy(real)), statistics(torch.from_numpy(fake)))
    # They take the root of a non-symmetric matrix, which loses digits when it is singular (see the next test).
    assert distance == pytest.approx(expected, rel=1e-7 if recipe["num_real"] < recipe["dim"] else 1e-11)


def test_is_exact_with_fewer_samples_than_dimensions() -> None:
    # tr (C1 C2)^{1/2} is the nuclear norm of X1 X2^T / (N - 1) for centred features: no covariance, so nothing to lose.
    real, fake = (torch.from_numpy(f) for f in correlated_features(50, 50, 64, seed=3, relu=True))
    centred_real, centred_fake = real - real.mean(0), fake - fake.mean(0)
    cross = torch.linalg.svdvals(centred_real @ centred_fake.T).sum() / 49
    spread = (centred_real.square().sum() + centred_fake.square().sum()) / 49
    expected = (real.mean(0) - fake.mean(0)).square().sum() + spread - 2 * cross
    assert frechet_distance(statistics(real), statistics(fake)) == pytest.approx(float(expected), rel=1e-12)


def test_equals_the_closed_form_for_diagonal_gaussians() -> None:
    a = Statistics(100, torch.tensor([0.0, 1.0], dtype=torch.float64), torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64)))
    b = Statistics(100, torch.tensor([3.0, 1.0], dtype=torch.float64), torch.diag(torch.tensor([9.0, 0.0], dtype=torch.float64)))
    assert frechet_distance(a, b) == pytest.approx(9 + (1 - 3) ** 2 + (2 - 0) ** 2, rel=1e-12)


def test_is_symmetric_and_zero_for_equal_sets() -> None:
    real, fake = (statistics(torch.from_numpy(f)) for f in correlated_features(40, 60, 50, seed=0))
    assert frechet_distance(real, fake) == pytest.approx(frechet_distance(fake, real), rel=1e-9)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-6)


def test_statistics_equal_numpys_in_float64_whatever_the_input_type() -> None:
    features = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) + 100
    result = statistics(features)
    assert result.num == 50
    np.testing.assert_allclose(result.mean, features.double().mean(0), rtol=1e-14)
    np.testing.assert_allclose(result.covariance, np.cov(features.double().numpy(), rowvar=False), rtol=1e-10)
