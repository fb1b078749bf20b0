"""Relativistic pairing: each generated image is judged against a real one (Jolicoeur-Martineau 2019, 1807.00734).

    D minimises f(D(G(z)) - D(x)),  G minimises f(D(x) - D(G(z))),   f = softplus

Unlike a loss of single scores it has no state where D drives all generated images to one side and some modes are dropped; with R1 and
R2 it converges locally (Huang et al. 2024, R3GAN, 2501.05441, eq. 3 and proposition 3).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """(B,) from (B,) scores of paired real and generated images."""
    return F.softplus(fake - real)


def generator(real: Tensor, fake: Tensor) -> Tensor:
    """(B,) from the same."""
    return F.softplus(real - fake)
