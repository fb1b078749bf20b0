import torch
from torch import Tensor

from biggan_scale.nn.attention import SelfAttention


def attention(channels: int = 16) -> SelfAttention:
    torch.manual_seed(0)
    layer = SelfAttention(channels).double()
    torch.nn.init.constant_(layer.gamma, 0.7)
    return layer


@torch.no_grad()
def by_hand(layer: SelfAttention, x: Tensor) -> Tensor:
    """Position by position, from the equations."""
    theta, phi, g, o = (conv.weight[:, :, 0, 0] for conv in (layer.theta, layer.phi, layer.g, layer.o))
    y = x.clone()
    _, _, height, width = x.shape
    for image, result in zip(x, y, strict=True):
        keys, values = torch.einsum("oc,chw->ohw", phi, image), torch.einsum("oc,chw->ohw", g, image)
        cells = [(slice(r, r + 2), slice(c, c + 2)) for r in range(0, height, 2) for c in range(0, width, 2)]
        keys = torch.stack([keys[:, r, c].amax((1, 2)) for r, c in cells])  # (HW/4, C/8)
        values = torch.stack([values[:, r, c].amax((1, 2)) for r, c in cells])  # (HW/4, C/2)
        for r in range(height):
            for c in range(width):
                beta = torch.exp(keys @ (theta @ image[:, r, c]))
                result[:, r, c] += layer.gamma * (o @ (beta / beta.sum() @ values))
    return y


def test_attention_is_its_equations() -> None:
    layer, x = attention(), torch.randn(2, 16, 6, 4, dtype=torch.float64)
    torch.testing.assert_close(layer(x), by_hand(layer, x))


def test_memory_layout_does_not_matter() -> None:
    layer, x = attention(), torch.randn(2, 16, 6, 4, dtype=torch.float64)
    torch.testing.assert_close(layer(x.contiguous(memory_format=torch.channels_last)), layer(x))


def test_a_fresh_layer_is_the_identity() -> None:
    x = torch.randn(2, 16, 4, 4)
    assert torch.equal(SelfAttention(16)(x), x)


def test_gamma_is_not_zero_dimensional() -> None:
    assert SelfAttention(16).gamma.shape == (1,)


def test_second_derivatives_are_those_of_finite_differences() -> None:
    layer, x = attention(8), torch.randn(1, 8, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(layer, x)
