"""Penalties on D's gradient, one value per sample.

    R1(x) = |grad_x D(x)|^2 on real images, R2 the same on generated ones        (Mescheder et al. 2018, 1801.04406, eq. 9)
    (|grad_x D(x)| - 1)^2 between real and generated images, of WGAN-GP          (Gulrajani et al. 2017, 1704.00028, eq. 3)

`squared_gradient` and `slope_excess` differentiate twice. `squared_gradient_of` is the first once more, of a function: by torch.func.grad,
which torch.compile can trace and differentiate again, as it cannot autograd.grad; hooks on saved tensors it knows none.
`finite_difference` needs no second derivative, for networks whose kernels have none (fused attention) or engines that cannot keep the
graph (sharded weights): with e ~ N(0, I),

    E_e[((D(x + s e) - D(x)) / s)^2] -> |grad_x D(x)|^2  as s -> 0        (as in Lin et al. 2025, 2501.08316, without its 1 / s^2)

They are exact for a D whose score of an image depends on that image; where D compares images (minibatch standard deviation), the
gradient is that of the sum of scores, as in the papers' code.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def squared_gradient(score: Tensor, images: Tensor) -> Tensor:
    """(B,): the squared norm of each image's gradient, differentiable.

    Args:
        score: (B,), a function of the images.
        images: (B, ...) that require a gradient.
    """
    (gradient,) = torch.autograd.grad(score.sum(), images, create_graph=True)
    return gradient.flatten(1).to(torch.promote_types(gradient.dtype, torch.float32)).square().sum(1)


def squared_gradient_of(score: Callable[[Tensor], Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) and (B,): the same, bit for bit, and the scores.

    Args:
        score: images (B, ...) to scores (B,).
        images: need not require a gradient.
    """

    def summed(x: Tensor) -> tuple[Tensor, Tensor]:
        scores = score(x)
        return scores.sum(), scores

    gradient, scores = torch.func.grad(summed, has_aux=True)(images)
    return gradient.flatten(1).to(torch.promote_types(gradient.dtype, torch.float32)).square().sum(1), scores


def slope_excess(score: Tensor, images: Tensor) -> Tensor:
    """(B,): the square of how much the norm of each image's gradient differs from 1, differentiable. Arguments as above."""
    return (squared_gradient(score, images).clamp(min=1e-24).sqrt() - 1).square()  # sqrt has no derivative at 0


def finite_difference(score: Tensor, moved: Tensor, sigma: float) -> Tensor:
    """(B,): an estimate of the same from the scores of images and of images + sigma * N(0, I)."""
    return ((moved - score) / sigma).square()
