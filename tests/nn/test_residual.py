"""The blocks against their diagrams, written without any of the shortcuts' shortcuts."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from biggan_scale.nn import resample_conv
from biggan_scale.nn.conditional_norm import AffineNorm
from biggan_scale.nn.residual import DiscriminatorBlock, GeneratorBlock
from biggan_scale.nn.sync_norm import BatchNorm

LEAKY = partial(F.leaky_relu, negative_slope=0.2)


def upsampled(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def pooled(x: Tensor) -> Tensor:
    return x.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))


@pytest.mark.parametrize("activation", [F.relu, LEAKY])
@pytest.mark.parametrize("side", [6, 20])
def test_generator_block(activation, side: int) -> None:
    block = GeneratorBlock(5, 3, lambda width: AffineNorm(BatchNorm(width)), activation).double()
    x = torch.randn(2, 5, side, side, dtype=torch.float64, requires_grad=True)
    before = x.detach().clone()

    def diagram(x: Tensor) -> Tensor:
        norm = partial(F.batch_norm, running_mean=None, running_var=None, training=True)
        h = block.conv1(upsampled(activation(norm(x))))
        return block.conv2(activation(norm(h))) + block.shortcut(upsampled(x))

    compare(block(x, None), diagram(x), x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("activation", [F.relu, LEAKY])
@pytest.mark.parametrize("side", [6, 40])
@pytest.mark.parametrize(("channels", "hidden", "out"), [(5, 7, 7), (5, 5, 7), (6, 6, 6)])
@pytest.mark.parametrize("preactivation", [True, False])
@pytest.mark.parametrize("downsample", [True, False])
def test_discriminator_block(activation, side: int, channels: int, hidden: int, out: int, preactivation: bool, downsample: bool) -> None:
    block = DiscriminatorBlock(channels, hidden, out, activation, preactivation, downsample).double()
    x = torch.randn(2, channels, side, side, dtype=torch.float64, requires_grad=True)
    before = x.detach().clone()

    def diagram(x: Tensor) -> Tensor:
        pool = pooled if downsample else torch.clone
        h = block.conv1(activation(x) if preactivation else x)
        return pool(block.conv2(activation(h))) + pool(block.shortcut(x))

    compare(block(x), diagram(x), x)
    assert torch.equal(x, before)


def compare(found: Tensor, expected: Tensor, x: Tensor) -> None:
    """Values, gradients, and gradients of a gradient penalty."""
    torch.testing.assert_close(found, expected)
    derivatives = []
    for y in (found, expected):
        (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        derivatives.append((first, *torch.autograd.grad(first.square().sum(), x)))
    torch.testing.assert_close(*derivatives)


def test_large_images_take_the_strided_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sides above include some on either side of the threshold, and the fast way is one call."""
    calls = []
    monkeypatch.setattr(F, "conv_transpose2d", lambda *args, **kwargs: calls.append(args) or torch.zeros(2, 3, 40, 40))
    for side in (6, 20):
        resample_conv.upsample_conv(torch.zeros(2, 5, side, side), torch.nn.Conv2d(5, 3, 3, padding=1))
    assert len(calls) == 1


def test_identity_shortcut_has_no_weights() -> None:
    block = DiscriminatorBlock(6, 6, 6, F.relu, preactivation=True, downsample=False)
    assert [name for name, _ in block.named_parameters() if "shortcut" in name] == []
