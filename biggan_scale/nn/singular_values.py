"""The largest singular values of a weight, by block power iteration (randomised SVD: Halko et al. 2011, 0909.4061, algorithm 4.4).

    Q <- orth(W S),    then repeatedly  Q <- orth(W orth(W^T Q)),    sigma = svdvals(Q^T W)

S has a few columns more than values are wanted. The result is never too large; where the spectrum decays at all it is right to
a fraction of a percent, which is plenty for watching growth. Small weights are decomposed whole.
"""

from __future__ import annotations

import torch
from torch import Tensor

from biggan_scale.dist.seeds import Noise

SMALL = 32  # a side up to which the whole decomposition costs nothing
EXTRA = 5  # columns beyond the number of values
ITERATIONS = 4


@torch.no_grad()
def leading_singular_values(weight: Tensor, num: int = 3) -> Tensor:
    """The `num` largest singular values (fewer if the weight has fewer), descending.

    Args:
        weight: (rows, ...), flattened to (rows, columns) as spectral normalisation does. NaN or inf in it gives NaN.
    """
    matrix = weight.detach().flatten(1)
    matrix = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    largest = matrix.abs().max()
    if not largest.isfinite() or not largest:
        return matrix.new_full((min(num, *matrix.shape),), 0.0 if largest.isfinite() else torch.nan)
    matrix = matrix / largest  # squares of very large weights overflow
    if min(matrix.shape) > max(SMALL, num + EXTRA):
        matrix = _projected(matrix, num + EXTRA)
    return torch.linalg.svdvals(matrix)[:num] * largest


def _projected(matrix: Tensor, width: int) -> Tensor:
    """(rows, columns) to (width, columns), which has nearly the same leading singular values."""
    start = Noise(0, [0], "singular_values", matrix.device, matrix.dtype).normal(matrix.shape[1], width)[0]  # (columns, width)
    basis = torch.linalg.qr(matrix @ start).Q
    for _ in range(ITERATIONS):
        basis = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ basis).Q).Q
    return basis.T @ matrix
