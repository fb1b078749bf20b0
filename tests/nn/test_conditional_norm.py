from functools import partial

import torch
from torch import nn

from biggan_scale.nn.conditional_norm import AffineNorm, ConditionalNorm
from biggan_scale.nn.sync_norm import BatchNorm


def normalised(x: torch.Tensor) -> torch.Tensor:
    return nn.BatchNorm2d(x.shape[1], affine=False, dtype=x.dtype)(x)


def test_gain_and_bias_follow_from_a_condition_vector() -> None:
    norm = ConditionalNorm(BatchNorm(4), partial(nn.Linear, 6, bias=False)).double()
    x, condition = torch.randn(3, 4, 5, 5, dtype=torch.float64), torch.randn(3, 6, dtype=torch.float64)
    gain, bias = 1 + condition @ norm.gain.weight.T, condition @ norm.bias.weight.T
    torch.testing.assert_close(norm(x, condition), normalised(x) * gain[:, :, None, None] + bias[:, :, None, None])


def test_gain_and_bias_are_looked_up_by_label() -> None:
    norm = ConditionalNorm(BatchNorm(4), partial(nn.Embedding, 7)).double()
    x, labels = torch.randn(3, 4, 5, 5, dtype=torch.float64), torch.tensor([6, 0, 6])
    gain, bias = 1 + norm.gain.weight[labels], norm.bias.weight[labels]
    torch.testing.assert_close(norm(x, labels), normalised(x) * gain[:, :, None, None] + bias[:, :, None, None])


def test_plain_norm_starts_as_the_normalisation_alone() -> None:
    x = torch.randn(3, 4, 5, 5)
    torch.testing.assert_close(AffineNorm(BatchNorm(4))(x), normalised(x))
