"""LeCam regularisation: D's scores are drawn towards the running mean of the opposite ones (Tseng et al. 2021, 2104.03310, eq. 4).

    R = (D(x) - a_fake)^2 + (D(G(z)) - a_real)^2

With few images D soon tells them all apart, and by more and more. Every step beyond what it used to say costs it the square. With
Wasserstein's loss and a_real = -a_fake = a, the best D has the scores (1 - 2 w a) (p - q) / (2 w (p + q)) for a weight w, and G minimises
the LeCam divergence, the integral of (p - q)^2 / (p + q).

The authors' code leaves out the squares of scores that have already crossed over (relu); this is the paper's equation.
"""

from __future__ import annotations

from torch import Tensor


def lecam(real: Tensor, fake: Tensor, mean_real: Tensor, mean_fake: Tensor) -> Tensor:
    """(B,) from (B,) scores of real and generated images and the running means of both, which are scalars."""
    return (real - mean_fake).square() + (fake - mean_real).square()
