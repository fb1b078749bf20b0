"""Nearest neighbours: are generated images copies of real ones, and does the neighbourhood know the class?

Memorisation cannot be seen in any distance between two distributions: copies of the training images score best. So each
generated image's distance to its nearest real one is compared with that of real images to each other. Of a model that copies
nothing about NEAR of the images are as near as the nearest NEAR of the real ones are; of one that copies, nearly all.

The accuracy of a vote among the k nearest features of labelled images is a test of the features that trains nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from biggan_scale.metrics.distances import Tick, nearest, no_tick

NEAR = 0.01
NUM_NEIGHBOURS = 5


class Memorisation(NamedTuple):
    """fake_to_real, real_to_real: medians of the distance to the nearest (other) real sample; near_copies: share of generated
    samples nearer to a real one than all but NEAR of the real ones are to another."""

    fake_to_real: float
    real_to_real: float
    near_copies: float


def memorisation(real: Tensor, fake: Tensor, tick: Tick = no_tick) -> Memorisation:
    """(N, D) and (M, D) features, N >= 2."""
    among_real = nearest(real, real, 1, is_same=True, tick=tick).distances[:, 0]
    to_real = nearest(fake, real, 1, tick=tick).distances[:, 0]
    near = among_real.sort().values[int(NEAR * len(among_real))]
    return Memorisation(float(to_real.median()), float(among_real.median()), float((to_real < near).to(torch.float64).mean()))


def knn_accuracy(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, k: int = NUM_NEIGHBOURS, tick: Tick = no_tick
) -> float:
    """The share of `test`, (M, D), whose label has most votes among its k nearest of `train`, (N, D), N >= k.

    Of classes with equally many votes the one of the nearest neighbour among them wins.
    """
    num_classes = int(max(train_labels.max(), test_labels.max())) + 1
    votes = functional.one_hot(train_labels[nearest(test, train, k, tick=tick).indices], num_classes).to(torch.float64)  # (M, k, K)
    # Less than one vote in all, and more for nearer ones: it decides between equals only.
    nearness = 0.5 ** torch.arange(1, k + 1, dtype=torch.float64)
    predicted = (votes * (1 + nearness[:, None] / 2)).sum(1).argmax(1)
    return float((predicted == test_labels).to(torch.float64).mean())
