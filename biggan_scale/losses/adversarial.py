"""What D and G minimise, as pairs of pure functions of D's score (before any sigmoid), one value per sample.

A pair holds three functions of a (B,) score: `real` and `fake` are D's losses on real and generated images, `generator` is G's
loss on generated images. The caller takes the mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class AdversarialLoss(NamedTuple):
    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


# Lim & Ye 2017 (1705.02894), Tran et al. 2017; the loss of SAGAN and BigGAN.
HINGE = AdversarialLoss(
    real=lambda score: F.relu(1 - score),
    fake=lambda score: F.relu(1 + score),
    generator=lambda score: -score,
)

# Goodfellow et al. 2014 (1406.2661), eq. 1: D maximises log D(x) + log(1 - D(G(z))), G minimises the same value. With D =
# sigmoid(score): -log D = softplus(-score), -log(1 - D) = softplus(score).
MINIMAX = AdversarialLoss(
    real=lambda score: F.softplus(-score),
    fake=F.softplus,
    generator=lambda score: -F.softplus(score),
)

# Goodfellow et al. 2014, section 3: G maximises log D(G(z)) instead, which does not saturate while D wins.
NON_SATURATING = AdversarialLoss(
    real=lambda score: F.softplus(-score),
    fake=F.softplus,
    generator=lambda score: F.softplus(-score),
)

# Mao et al. 2017 (1611.04076), eq. 9 with a = 0, b = c = 1.
LEAST_SQUARES = AdversarialLoss(
    real=lambda score: (score - 1).square() / 2,
    fake=lambda score: score.square() / 2,
    generator=lambda score: (score - 1).square() / 2,
)

# Arjovsky et al. 2017 (1701.07875), eq. 2; needs a Lipschitz D (clipping, penalty or spectral normalisation).
WASSERSTEIN = AdversarialLoss(
    real=lambda score: -score,
    fake=lambda score: score,
    generator=lambda score: -score,
)

LOSSES = {
    "hinge": HINGE,
    "non_saturating": NON_SATURATING,
    "minimax": MINIMAX,
    "least_squares": LEAST_SQUARES,
    "wasserstein": WASSERSTEIN,
}
