"""Inception score: are the images sure of their class each, and of many classes together?

    IS = exp( mean over x of KL( p(y | x) || p(y) ) ),    p(y) = mean over x of p(y | x)

From 1 to the number of classes. It never looks at real images, so it sees neither memorisation nor a missing variety within a
class. Called by its name only with Inception's probabilities; with another classifier's it compares only with itself.

Source: Salimans et al., "Improved techniques for training GANs", 1606.03498, section 4; 10 splits as there.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

NUM_SPLITS = 10


class InceptionScore(NamedTuple):
    """mean and standard deviation (of the population) over the splits."""

    mean: float
    std: float


def inception_score(probabilities: Tensor, num_splits: int = NUM_SPLITS) -> InceptionScore:
    """From (N, K) class probabilities, N >= num_splits, cut into consecutive splits."""
    bounds = [i * len(probabilities) // num_splits for i in range(num_splits + 1)]
    parts = [probabilities[a:b].to(torch.float64) for a, b in itertools.pairwise(bounds)]
    scores = torch.stack([_score(part) for part in parts])
    return InceptionScore(float(scores.mean()), float(scores.std(correction=0)))


def _score(probabilities: Tensor) -> Tensor:
    """exp of (mean over x of sum of p log p(y | x)) - sum of p(y) log p(y); 0 log 0 = 0."""
    conditional = torch.xlogy(probabilities, probabilities).sum(1).mean()
    marginal = probabilities.mean(0)
    return (conditional - torch.xlogy(marginal, marginal).sum()).exp()
