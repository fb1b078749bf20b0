from __future__ import annotations

import numpy as np
import pytest
import torch

from biggan_scale.metrics.distances import nearest
from biggan_scale.metrics.neighbours import knn_accuracy, memorisation


def cloud(num: int, seed: int, dim: int = 8) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(seed).randn(num, dim))


def test_nearest_equals_numpys_brute_force() -> None:
    a, b = cloud(30, 0), cloud(40, 1)
    table = np.linalg.norm(a.numpy()[:, None] - b.numpy()[None], axis=2)
    found = nearest(a, b, 3)
    np.testing.assert_array_equal(found.indices, np.argsort(table, axis=1)[:, :3])
    np.testing.assert_allclose(found.distances, np.sort(table, axis=1)[:, :3], rtol=1e-10)


def test_a_sample_is_not_its_own_neighbour() -> None:
    a = cloud(30, 0)
    table = np.linalg.norm(a.numpy()[:, None] - a.numpy()[None], axis=2) + np.diag([np.inf] * 30)
    np.testing.assert_array_equal(nearest(a, a, 1, is_same=True).indices[:, 0], table.argmin(1))


def test_fresh_samples_are_no_copies() -> None:
    result = memorisation(cloud(1000, 0), cloud(1000, 1))
    assert result.near_copies < 0.03  # 0.01 is expected, with a deviation of 0.003
    assert result.fake_to_real == pytest.approx(result.real_to_real, rel=0.05)


def test_copies_with_a_little_noise_are_copies() -> None:
    real = cloud(1000, 0)
    half = torch.cat([real[:100] + 1e-3 * cloud(100, 2), cloud(100, 3)])
    assert memorisation(real, half).near_copies == pytest.approx(0.5, abs=0.05)


def test_accuracy_of_the_neighbours_vote() -> None:
    train = torch.tensor([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])
    labels = torch.tensor([0, 0, 1, 1, 1, 1])
    test = torch.tensor([[0.4], [11.1], [3.0]])
    assert knn_accuracy(train, labels, test, torch.tensor([0, 1, 0]), k=3) == 1  # of 3.0 the neighbours say 1, 0, 0
    assert knn_accuracy(train, labels, test, torch.tensor([0, 1, 0]), k=1) == pytest.approx(2 / 3)


def test_between_equal_votes_the_nearest_decides() -> None:
    train, labels = torch.tensor([[1.0], [2.0], [3.0], [4.0]]), torch.tensor([2, 0, 0, 2])
    assert knn_accuracy(train, labels, torch.tensor([[0.0]]), torch.tensor([2]), k=4) == 1
    assert knn_accuracy(train, labels, torch.tensor([[0.0]]), torch.tensor([0]), k=3) == 1
