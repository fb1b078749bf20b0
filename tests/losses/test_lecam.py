from __future__ import annotations

import torch

from biggan_scale.losses.adversarial import WASSERSTEIN
from biggan_scale.losses.lecam import lecam


def test_scores_are_drawn_to_the_mean_of_the_others() -> None:
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([-2.0, 0.0])
    found = lecam(real, fake, torch.tensor(2.0), torch.tensor(-1.0))
    torch.testing.assert_close(found, torch.tensor([2.0**2 + 4.0**2, 4.0**2 + 2.0**2]))


def test_the_best_discriminator_is_that_of_the_lecam_divergence() -> None:
    """2104.03310, proposition 1: with Wasserstein's loss and means a and -a, G minimises (1 / (2 w) - a) times the divergence.

    p and q are distributions of five images; D is a table of their scores, at which the gradient vanishes.
    """
    p, q = (torch.rand(5, dtype=torch.float64).softmax(0) for _ in range(2))
    w, a = 0.3, torch.tensor(0.2, dtype=torch.float64)
    D = ((1 - 2 * w * a) * (p - q) / (2 * w * (p + q))).requires_grad_()
    adversarial = (p * WASSERSTEIN.real(D) + q * WASSERSTEIN.fake(D)).sum()
    pull = (p * lecam(D, a, a, -a) + q * lecam(-a, D, a, -a)).sum()  # one of the two squares of each is 0
    (slope,) = torch.autograd.grad(adversarial + w * pull, D)
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-12, rtol=0)
    for_generator = -(p * D - q * D).sum() * -1
    divergence = ((p - q).square() / (p + q)).sum()
    torch.testing.assert_close(for_generator.detach(), (1 / (2 * w) - a) * divergence)
