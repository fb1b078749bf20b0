"""Clusters against classes: how pure they are, and what k-means finds, to compare with.

    purity = (1 / N) sum over clusters of the number of members of the cluster's most frequent class

1 means that a cluster tells the class. It grows with the number of clusters, so compare at equal numbers; of K clusters drawn at random it
is about the share of the most frequent class.

Source: k-means by Lloyd's algorithm (1982) from the seeds of Arthur and Vassilvitskii 2007 ("k-means++"), the best of several starts.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from biggan_scale.metrics.distances import Tick, nearest, no_tick

STARTS = 10
MAX_ITERATIONS = 300


def purity(clusters: Tensor, labels: Tensor) -> float:
    """Of (N,) clusters and (N,) labels, both int64 from 0."""
    counts = torch.zeros(int(clusters.max()) + 1, int(labels.max()) + 1, dtype=torch.int64)
    counts.index_put_((clusters, labels), torch.ones_like(labels), accumulate=True)
    return float(counts.max(1).values.sum()) / len(labels)


def k_means(points: Tensor, k: int, seed: int, starts: int = STARTS, tick: Tick = no_tick) -> Tensor:
    """(N,) clusters of (N, D) points, k <= N: of several starts that with the smallest sum of squared distances to the centres."""
    generator = torch.Generator().manual_seed(seed)
    best, smallest = torch.zeros(len(points), dtype=torch.int64), torch.inf
    for _ in range(starts):
        clusters, total = _lloyd(points, _seeds(points, k, generator), tick)
        if total < smallest:
            best, smallest = clusters, total
    return best


def _seeds(points: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """(k, D): one point drawn evenly, each further one by the square of its distance to the nearest so far."""
    chosen = [int(torch.randint(len(points), (), generator=generator))]
    squared = torch.full((len(points),), torch.inf, dtype=torch.float64)
    while len(chosen) < k:
        squared = torch.minimum(squared, nearest(points, points[chosen[-1:]], 1).distances[:, 0].square())
        chances = squared if bool(squared.any()) else torch.ones_like(squared)  # fewer different points than k
        chosen.append(int(torch.multinomial(chances, 1, generator=generator)))
    return points[chosen]


def _lloyd(points: Tensor, centres: Tensor, tick: Tick) -> tuple[Tensor, float]:
    """The clusters, and the sum of squared distances to their centres, when nothing changes any more."""
    points, k = points.to(torch.float64), len(centres)
    clusters = torch.full((len(points),), -1)
    total = torch.inf
    for _ in range(MAX_ITERATIONS):
        distances, indices = nearest(points, centres, 1, tick=tick)
        total = float(distances.square().sum())
        if torch.equal(indices[:, 0], clusters):
            break
        clusters = indices[:, 0]
        members = functional.one_hot(clusters, k).to(torch.float64)  # (N, k)
        sizes = members.sum(0)[:, None]
        centres = torch.where(sizes > 0, members.T @ points / sizes.clamp_min(1), centres.to(torch.float64))
    return clusters, total
