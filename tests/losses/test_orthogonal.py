from __future__ import annotations

import pytest
import torch
from torch import nn

from biggan_scale.losses import orthogonal

SHAPES = [(12, 5), (5, 12), (6, 6), (8, 3, 3, 3), (4, 16, 1, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_penalty_is_the_off_diagonal_gram_norm(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape, dtype=torch.float64)
    matrix = weight.flatten(1)
    gram = matrix @ matrix.T
    expected = (gram * (1 - torch.eye(len(gram)))).square().sum()
    torch.testing.assert_close(orthogonal.penalty(weight), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_direct_gradient_equals_autograd(shape: tuple[int, ...]) -> None:
    strength = 1e-2
    weight = nn.Parameter(torch.randn(shape, dtype=torch.float64))
    (expected,) = torch.autograd.grad(strength * orthogonal.penalty(weight) / 2, weight)
    weight.grad = torch.zeros_like(weight)
    orthogonal.add_gradient_([weight], strength)
    torch.testing.assert_close(weight.grad, expected)


def test_orthogonal_rows_of_any_norm_cost_nothing() -> None:
    weight = torch.linalg.qr(torch.randn(7, 7, dtype=torch.float64)).Q[:4] * torch.tensor([[0.1], [1], [5], [30]])
    assert orthogonal.penalty(weight).abs() < 1e-8


def test_embeddings_and_vectors_are_left_out() -> None:
    module = nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 5), nn.Conv2d(5, 6, 3))
    chosen = {id(p) for p in orthogonal.regularised_weights(module)}
    assert chosen == {id(module[1].weight), id(module[2].weight)}
