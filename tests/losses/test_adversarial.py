"""Each loss against the formula of its paper, written in numpy with the sigmoid spelt out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from biggan_scale.losses.adversarial import LOSSES

SCORE = np.linspace(-4, 4, 33)


def sigmoid(s: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-s))


FORMULAS = {
    "hinge": (np.maximum(0, 1 - SCORE), np.maximum(0, 1 + SCORE), -SCORE),
    "minimax": (-np.log(sigmoid(SCORE)), -np.log(1 - sigmoid(SCORE)), np.log(1 - sigmoid(SCORE))),
    "non_saturating": (-np.log(sigmoid(SCORE)), -np.log(1 - sigmoid(SCORE)), -np.log(sigmoid(SCORE))),
    "least_squares": ((SCORE - 1) ** 2 / 2, SCORE**2 / 2, (SCORE - 1) ** 2 / 2),
    "wasserstein": (-SCORE, SCORE, -SCORE),
}


def test_every_loss_is_checked() -> None:
    assert FORMULAS.keys() == LOSSES.keys()


@pytest.mark.parametrize("name", LOSSES)
def test_loss_is_the_formula_of_its_paper(name: str) -> None:
    score = torch.from_numpy(SCORE)
    for function, expected in zip(LOSSES[name], FORMULAS[name], strict=True):
        np.testing.assert_allclose(function(score).numpy(), expected, atol=1e-12)


def test_optimal_discriminator_of_minimax_reaches_the_jensen_shannon_identity() -> None:
    """At D* = p / (p + q), D's loss is 2 log 2 - 2 JSD(p, q) (Goodfellow et al. 2014, theorem 1)."""
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.3, 0.6])
    score = torch.from_numpy(np.log(p / q))  # sigmoid of it is D*
    loss = LOSSES["minimax"]
    value = (torch.from_numpy(p) * loss.real(score) + torch.from_numpy(q) * loss.fake(score)).sum()
    m = (p + q) / 2
    jsd = (p * np.log(p / m) + q * np.log(q / m)).sum() / 2
    assert value.item() == pytest.approx(2 * np.log(2) - 2 * jsd, abs=1e-12)
