"""Purity against counts made by hand, and k-means against clusters that were planted and against every other partition."""

from __future__ import annotations

import itertools

import pytest
import torch

from biggan_scale.metrics.clusters import k_means, purity


def test_purity_is_the_share_of_each_clusters_most_frequent_class() -> None:
    clusters = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])
    labels = torch.tensor([1, 1, 0, 2, 0, 2, 2, 2])
    assert purity(clusters, labels) == (2 + 1 + 3) / 8


def test_purity_is_1_for_the_classes_by_other_names_and_their_share_for_a_single_cluster() -> None:
    labels = torch.tensor([0, 1, 2, 2, 1, 2])
    assert purity((labels + 1) % 3, labels) == 1
    assert purity(torch.zeros_like(labels), labels) == 0.5


def test_k_means_finds_planted_clusters() -> None:
    torch.manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0], [6.0, 6.0]])
    planted = torch.arange(200) % 4
    found = k_means(centres[planted] + 0.5 * torch.randn(200, 2), 4, seed=0)
    assert purity(found, planted) == 1
    assert set(found.tolist()) == {0, 1, 2, 3}


def test_k_means_is_the_best_of_all_partitions_of_a_few_points() -> None:
    points = torch.randn(9, 2, generator=torch.Generator().manual_seed(3))

    def spread(clusters: tuple[int, ...]) -> float:
        parts = [points[[i for i, c in enumerate(clusters) if c == k]] for k in set(clusters)]
        return sum(float((part - part.mean(0)).square().sum()) for part in parts)

    least = min(spread((0, *others)) for others in itertools.product((0, 1, 2), repeat=8))
    assert spread(tuple(k_means(points, 3, seed=0).tolist())) == pytest.approx(least, rel=1e-5)


def test_same_seed_same_clusters_and_equal_points_are_no_trouble() -> None:
    points = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(k_means(points, 5, seed=1), k_means(points, 5, seed=1))
    assert k_means(torch.ones(6, 2), 3, seed=0).shape == (6,)
