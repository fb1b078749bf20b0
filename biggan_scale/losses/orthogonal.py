"""Orthogonal regularisation as BigGAN relaxes it: keep rows of W from pointing the same way, leave their norms free.

    R(W) = || W W^T * (1 - I) ||_F^2        (Brock et al. 2019, 1809.11096, eq. 3; W is (rows, columns), * elementwise)

Two forms of the same thing. `penalty` is the value, for autograd. `add_gradient_` writes the gradient

    dR/dW = 4 (W W^T * (1 - I)) W = 4 (W (W^T W) - diag(|w_i|^2) W)

straight into `.grad`, once per optimizer step whatever the accumulation. Both use whichever Gram matrix is the smaller one: an
8192 x 24 weight never builds an 8192 x 8192 matrix.

Following the reference code, W is a parameter with its first dimension as rows and the rest flattened, and the strength is
applied to R / 2, so that the added gradient is `strength * 2 (W W^T * (1 - I)) W`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn


def penalty(weight: Tensor) -> Tensor:
    """R(W), a scalar.

    Args:
        weight: (rows, ...), flattened to (rows, columns).
    """
    matrix = weight.flatten(1)
    gram = matrix.T @ matrix if matrix.shape[0] > matrix.shape[1] else matrix @ matrix.T  # both have the same Frobenius norm
    return gram.square().sum() - matrix.square().sum(1).square().sum()


@torch.no_grad()
def add_gradient_(parameters: Iterable[Tensor], strength: float) -> None:
    """Add the gradient of strength * R(W) / 2 to each parameter's `.grad` (those without a gradient are left alone)."""
    for parameter in parameters:
        if parameter.grad is None:
            continue
        matrix = parameter.flatten(1)
        product = matrix @ (matrix.T @ matrix) if matrix.shape[0] > matrix.shape[1] else (matrix @ matrix.T) @ matrix
        gradient = torch.addcmul(product, matrix.square().sum(1, keepdim=True), matrix, value=-1)
        parameter.grad.add_(gradient.view(parameter.shape), alpha=2 * strength)


def regularised_weights(module: nn.Module) -> Iterator[Tensor]:
    """The weights the paper regularises: all matrices and kernels of G, embeddings left out (1809.11096, section 3.1)."""
    embeddings = {id(p) for m in module.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    return (p for p in module.parameters() if p.ndim >= 2 and id(p) not in embeddings)
