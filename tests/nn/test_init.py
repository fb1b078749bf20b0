import pytest
import torch
from torch import nn

from biggan_scale.nn.init import initialize


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(8, 16, 3), nn.Linear(40, 100), nn.Embedding(50, 60))


def test_orthogonal_weights_have_orthonormal_rows_or_columns() -> None:
    layers = network()
    initialize(layers, "orthogonal")
    for layer in layers:
        matrix = layer.weight.detach().flatten(1)
        gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
        torch.testing.assert_close(gram, torch.eye(len(gram)), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("style", "std"), [("normal", 0.02), ("xavier", (2 / 140) ** 0.5)])
def test_other_styles_have_their_standard_deviation(style: str, std: float) -> None:
    layers = network()
    initialize(layers, style)
    assert layers[1].weight.std().item() == pytest.approx(std, rel=0.05)  # 4000 values: standard error 1 %


def test_biases_start_at_zero() -> None:
    layers = network()
    initialize(layers, "normal")
    assert not layers[0].bias.any() and not layers[1].bias.any()
