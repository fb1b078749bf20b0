"""The squared maximum mean discrepancy of two sets of features, differentiable, by blocks.

    MMD^2 = mean over i != j of k(x_i, x_j) + mean over i != j of k(y_i, y_j) - 2 mean over i, j of k(x_i, y_j)
    k(x, y) = <x, y> + sum over a of (1 + |x - y|^2 / 2a)^-a,    a = 0.2, 0.5, 1, 2, 5

Unbiased; rational quadratic kernels, and the inner product, which still has a slope where the others have none, between features that
are far apart (k^rq* of Binkowski et al. 2018, 1801.01401, section 2.1). A batch is cut into blocks of consecutive samples, and the value is
the mean over blocks (Zaremba et al. 2013, 1307.1954): the expectation is the same, and the cost grows with the batch only linearly. The
blocks of a global batch are the same on any number of ranks and with any accumulation, as long as micro-batches are multiples of the
block: so neither changes the loss, which an estimate over whole micro-batches would.
"""

from __future__ import annotations

import torch
from torch import Tensor

ALPHAS = (0.2, 0.5, 1.0, 2.0, 5.0)


def blocks(features: Tensor, size: int) -> Tensor:
    """(B, F) to (B / size, size, F). B is a multiple of the size."""
    return features.unflatten(0, (-1, size))


def squared_mmd(real: Tensor, fake: Tensor) -> Tensor:
    """(N, M, F) and (N, M, F), N blocks of M: (N,), the unbiased estimates of MMD^2."""
    return unbiased(kernel(real, real), kernel(fake, fake), kernel(real, fake))


def unbiased(within_real: Tensor, within_fake: Tensor, across: Tensor) -> Tensor:
    """(..., M, M), a kernel's values, three times: (...), the estimate of MMD^2 from them; with any kernel."""
    return _mean_off_diagonal(within_real) + _mean_off_diagonal(within_fake) - 2 * across.mean((-2, -1))


def witness(at: Tensor, real: Tensor, fake: Tensor) -> Tensor:
    """(N, M, F), three times: (N, M), how much more the kernel finds of real features than of generated ones at each of `at`."""
    return kernel(at, real).mean(2) - kernel(at, fake).mean(2)


def kernel(a: Tensor, b: Tensor) -> Tensor:
    """(N, M, F) and (N, K, F): (N, M, K)."""
    squared = a.square().sum(2)[:, :, None] + b.square().sum(2)[:, None, :] - 2 * a @ b.mT
    squared = squared.clamp(min=0)  # rounding
    return a @ b.mT + torch.stack([(1 + squared / (2 * alpha)) ** -alpha for alpha in ALPHAS]).sum(0)


def _mean_off_diagonal(matrix: Tensor) -> Tensor:
    num = matrix.shape[-1]
    return (matrix.sum((-2, -1)) - matrix.diagonal(dim1=-2, dim2=-1).sum(-1)) / (num * (num - 1))
