"""The kernel distance against published implementations on seeded features, and against a sum over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from biggan_scale.metrics.kid import kid, mmd2, subsets
from metrics.reference import CASES, Case, features


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_mmd2_equals_the_published_implementations(case: Case) -> None:
    real, fake = features(case)
    num = min(len(real), len(fake))
    assert float(mmd2(torch.from_numpy(real[:num]), torch.from_numpy(fake[:num]))) == pytest.approx(case.mmd2, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_mean_and_deviation_over_the_subsets_of_torch_fidelity(case: Case) -> None:
    real, fake = features(case)
    random = np.random.RandomState(2020)
    chosen = [
        tuple(torch.from_numpy(random.choice(len(kind), case.subset_size, replace=False)) for kind in (real, fake)) for _ in range(50)
    ]
    result = kid(torch.from_numpy(real), torch.from_numpy(fake), chosen)
    assert result == pytest.approx(case.kid, rel=1e-9, abs=1e-12)


def test_mmd2_is_the_mean_over_all_pairs_of_different_samples() -> None:
    random = np.random.RandomState(0)
    x, y = random.randn(2, 6, 3)
    k = np.vectorize(lambda a, b: (np.dot(a, b) / 3 + 1) ** 3, signature="(d),(d)->()")
    off = [(i, j) for i in range(6) for j in range(6) if i != j]
    expected = np.mean([k(x[i], x[j]) + k(y[i], y[j]) for i, j in off]) - 2 * np.mean([k(a, b) for a in x for b in y])
    assert float(mmd2(torch.from_numpy(x), torch.from_numpy(y))) == pytest.approx(expected, rel=1e-12)


def test_subsets_are_without_repetition_and_depend_on_the_seed_alone() -> None:
    first, again, other = (subsets(30, 20, seed, num=3, size=1000) for seed in (0, 0, 1))
    for (real, fake), (real_again, fake_again), (other_real, _) in zip(first, again, other, strict=True):
        assert len(set(real.tolist())) == len(set(fake.tolist())) == 10
        assert max(real) < 30 and max(fake) < 20
        assert torch.equal(real, real_again) and torch.equal(fake, fake_again)
        assert not torch.equal(real, other_real)
    assert not torch.equal(first[0][1], first[1][1])


def test_a_tick_can_end_it() -> None:
    def tick() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        kid(torch.zeros(4, 2), torch.zeros(4, 2), subsets(4, 4, 0, num=2), tick)
