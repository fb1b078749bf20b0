from __future__ import annotations

import numpy as np
import pytest
import torch

from biggan_scale.losses.mmd import ALPHAS, blocks, squared_mmd, witness


def k(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b) + sum((1 + float(((a - b) ** 2).sum()) / (2 * alpha)) ** -alpha for alpha in ALPHAS)


def features(num: int, mean: float = 0.0, seed: int = 0) -> torch.Tensor:
    return torch.randn(num, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + mean


def test_estimate_and_witness_are_their_sums() -> None:
    real, fake, at = features(5), features(5, 1.0, 1), features(5, 0.5, 2)
    x, y, t = real.numpy(), fake.numpy(), at.numpy()
    pairs = [(i, j) for i in range(5) for j in range(5)]
    others = [(i, j) for i, j in pairs if i != j]
    within = sum(k(x[i], x[j]) + k(y[i], y[j]) for i, j in others) / 20
    expected = within - 2 * sum(k(x[i], y[j]) for i, j in pairs) / 25
    assert squared_mmd(blocks(real, 5), blocks(fake, 5)).item() == pytest.approx(expected, rel=1e-12)
    found = witness(blocks(at, 5), blocks(real, 5), blocks(fake, 5))[0]
    for i, value in enumerate(found.tolist()):
        assert value == pytest.approx(sum(k(t[i], x[j]) - k(t[i], y[j]) for j in range(5)) / 5, rel=1e-12)


def test_estimate_is_unbiased_however_small_the_block() -> None:
    """Two samples to a block, or all in one: the same in the mean; 0 where the distributions are equal."""
    real, fake, like_real = features(4000, 0.0, 3), features(4000, 0.4, 4), features(4000, 0.0, 5)
    whole = squared_mmd(blocks(real, 2000), blocks(fake, 2000)).mean()
    pairs = squared_mmd(blocks(real, 2), blocks(fake, 2))
    assert abs(pairs.mean() - whole) < 3 * pairs.std() / len(pairs) ** 0.5
    assert whole > 0.05
    same = squared_mmd(blocks(real, 2), blocks(like_real, 2))
    assert abs(same.mean()) < 3 * same.std() / len(same) ** 0.5


def test_features_that_are_equal_have_a_gradient() -> None:
    real = torch.zeros(1, 4, 3, dtype=torch.float64, requires_grad=True)
    squared_mmd(real, torch.ones(1, 4, 3, dtype=torch.float64)).sum().backward()
    assert real.grad is not None
    assert real.grad.isfinite().all()
