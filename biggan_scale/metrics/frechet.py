"""The Frechet distance between two sets of features, each taken for a Gaussian: the arithmetic of FID, for any features.

    d^2 = |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^{1/2})

Called FID only when the features are Inception's; with other features the number compares only with itself. It is biased
upwards for few samples (the more dimensions, the more), so compare at equal numbers of samples.

Source: Dowson and Landau, "The Frechet distance between multivariate normal distributions", 1982; Heusel et al., 1706.08500.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Statistics(NamedTuple):
    """mean: (D,) and covariance: (D, D), float64, of the features of num samples."""

    num: int
    mean: Tensor
    covariance: Tensor


def statistics(features: Tensor) -> Statistics:
    """Mean and unbiased covariance of (N, D) features, N >= 2."""
    features = features.to(torch.float64)
    return Statistics(len(features), features.mean(0), torch.cov(features.T))


def distance_of_features(a: Tensor, b: Tensor) -> float:
    """The distance of (N, D) and (M, D) features, N, M >= 2: that of their statistics, by the shorter way."""
    if len(a) > a.shape[1] or len(b) > a.shape[1]:
        return frechet_distance(statistics(a), statistics(b))
    # C = X^T X / (N - 1) for centred features X, so tr (C1 C2)^{1/2} is the sum of the singular values of X1 X2^T, scaled: N x M
    # numbers instead of D x D.
    a, b = a.to(torch.float64), b.to(torch.float64)
    shift = (a.mean(0) - b.mean(0)).square().sum()
    a, b = ((x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (a, b))
    return max(float(shift + a.square().sum() + b.square().sum() - 2 * torch.linalg.svdvals(a @ b.T).sum()), 0.0)


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """d^2 of the formula above; FID is by custom this square."""
    # The eigenvalues of C1 C2 are the squared singular values of C1^{1/2} C2^{1/2}, so no root of a non-symmetric matrix is
    # needed and a singular covariance (fewer samples than dimensions) costs no accuracy.
    cross = torch.linalg.svdvals(_square_root(a.covariance) @ _square_root(b.covariance)).sum()
    distance = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * cross
    return max(float(distance), 0.0)  # rounding can leave -1e-15 for equal sets


def _square_root(covariance: Tensor) -> Tensor:
    """The symmetric square root of a positive semi-definite matrix."""
    values, vectors = torch.linalg.eigh(covariance)
    # A zero eigenvalue comes out as this much noise, whose root would not be small.
    rounding = values[-1] * len(values) * torch.finfo(values.dtype).eps
    return (vectors * torch.where(values > rounding, values, 0).sqrt()) @ vectors.T
