from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from biggan_scale.nn.singular_values import leading_singular_values


def with_spectrum(rows: int, columns: int, spectrum: Tensor) -> Tensor:
    left, right = torch.linalg.qr(torch.randn(rows, len(spectrum))).Q, torch.linalg.qr(torch.randn(columns, len(spectrum))).Q
    return left @ torch.diag(spectrum) @ right.T


@pytest.mark.parametrize("shape", [(200, 300), (300, 200), (64, 3, 3, 3), (1, 500), (500, 1), (2, 2)])
def test_values_are_numpys(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape)
    wanted = np.linalg.svd(weight.flatten(1).double().numpy(), compute_uv=False)[:3]
    found = leading_singular_values(weight).numpy()
    np.testing.assert_allclose(found, wanted, rtol=0.06)  # a Gaussian weight is the hardest: its spectrum is flat at the edge
    assert (found <= wanted * (1 + 1e-5)).all()


def test_a_spectrum_that_decays_is_exact() -> None:
    spectrum = 3 * 0.8 ** torch.arange(50.0)
    np.testing.assert_allclose(leading_singular_values(with_spectrum(200, 300, spectrum)), spectrum[:3], rtol=1e-4)


def test_a_value_that_stands_out_is_exact_and_the_same_every_time() -> None:
    spectrum = torch.ones(100)
    spectrum[0] = 10
    weight = with_spectrum(100, 400, spectrum)
    found = leading_singular_values(weight, 1)
    assert float(found) == pytest.approx(10, rel=1e-5)
    torch.manual_seed(1)
    assert torch.equal(leading_singular_values(weight, 1), found)


def test_orthogonal_and_zero_weights() -> None:
    np.testing.assert_allclose(leading_singular_values(torch.nn.init.orthogonal_(torch.empty(100, 300))), [1, 1, 1], rtol=1e-5)
    assert leading_singular_values(torch.zeros(100, 300)).tolist() == [0, 0, 0]


def test_weight_that_is_not_finite_has_none() -> None:
    weight = torch.ones(100, 200)
    weight[3, 4] = torch.inf
    assert leading_singular_values(weight).isnan().all()


def test_very_large_and_very_small_weights_neither_overflow_nor_vanish() -> None:
    weight = torch.randn(100, 200)
    for scale in (1e30, 1e-30):
        np.testing.assert_allclose(leading_singular_values(weight * scale) / scale, leading_singular_values(weight), rtol=1e-4)
