"""The Frechet distance against published implementations on seeded features, and against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from biggan_scale.metrics.frechet import Statistics, distance_of_features, frechet_distance, statistics
from metrics.reference import CASES, Case, correlated_features, features


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_equals_the_published_implementations(case: Case) -> None:
    real, fake = features(case)
    distance = frechet_distance(statistics(torch.from_numpy(real)), statistics(torch.from_numpy(fake)))
    # They take the root of a non-symmetric matrix, which loses digits when it is singular (see the next test).
    assert distance == pytest.approx(case.fid, rel=1e-7 if len(real) < real.shape[1] else 1e-11)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_of_features_is_that_of_their_statistics(case: Case) -> None:
    real, fake = (torch.from_numpy(f) for f in features(case))
    expected = frechet_distance(statistics(real), statistics(fake))
    assert distance_of_features(real, fake) == pytest.approx(expected, rel=1e-9)
    few_real, few_fake = real[:15], fake[:12]  # fewer than dimensions in every case
    expected = frechet_distance(statistics(few_real), statistics(few_fake))
    assert distance_of_features(few_real, few_fake) == pytest.approx(expected, rel=1e-6)


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
