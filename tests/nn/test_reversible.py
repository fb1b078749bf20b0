"""Reversible stacks compute what the plain form computes, and keep less."""

from __future__ import annotations

import copy
import weakref

import pytest
import torch
from torch import Tensor, nn

from biggan_scale.nn.conditional_norm import AffineNorm
from biggan_scale.nn.reversible import ReversibleBlock, ReversibleStack
from biggan_scale.nn.sync_norm import BatchNorm


def function(channels: int) -> nn.Module:
    return nn.Sequential(AffineNorm(BatchNorm(channels)), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1))


def stack(depth: int, channels: int = 4) -> ReversibleStack:
    return ReversibleStack([ReversibleBlock(function(channels // 2), function(channels // 2)) for _ in range(depth)])


def plain(network: ReversibleStack) -> nn.Sequential:
    """The same blocks, a copy, left to autograd."""
    return nn.Sequential(*copy.deepcopy(network.blocks))


def gradients(network: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor | None]]:
    """Of a loss that weighs every output differently: with respect to x, and to the parameters."""
    x = x.clone().requires_grad_()
    y = network(x)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    return x.grad, [p.grad for p in network.parameters()]


def test_a_block_is_its_equations() -> None:
    block = ReversibleBlock(function(2), function(2)).double().eval()
    x1, x2 = torch.randn(3, 2, 5, 5).double(), torch.randn(3, 2, 5, 5).double()
    y1 = x1 + block.f(x2)
    torch.testing.assert_close(block(torch.cat([x1, x2], 1)), torch.cat([y1, x2 + block.g(y1)], 1))


@pytest.mark.parametrize("depth", [0, 1, 5])
@pytest.mark.parametrize("training", [True, False])
def test_values_gradients_and_statistics_are_those_of_the_plain_form(depth: int, training: bool) -> None:
    network = stack(depth).double().train(training)
    reference = plain(network)
    x = torch.randn(3, 4, 6, 6).double()
    of_x, of_parameters = gradients(network, x)
    expected_of_x, expected = gradients(reference, x)
    torch.testing.assert_close(of_x, expected_of_x, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(of_parameters, expected, rtol=1e-9, atol=1e-11)
    assert [buffer.tolist() for buffer in network.buffers()] == [buffer.tolist() for buffer in reference.buffers()]


def test_single_precision_loses_a_few_digits_over_twenty_blocks() -> None:
    network = stack(20, channels=8)
    x = torch.randn(4, 8, 8, 8)
    of_x, of_parameters = gradients(network, x)
    expected_of_x, expected = gradients(plain(network).double(), x.double())
    for mine, theirs in zip([of_x, *of_parameters], [expected_of_x, *expected], strict=True):
        assert (mine - theirs).norm() <= 1e-3 * theirs.norm() + 1e-4


def test_frozen_parameters_get_no_gradient_and_cut_nothing() -> None:
    network = stack(3).double()
    reference = plain(network)
    for blocks in (network.blocks, reference):
        blocks[1].requires_grad_(False)
        blocks[0].f.requires_grad_(False)
    x = torch.randn(2, 4, 5, 5).double()
    torch.testing.assert_close(gradients(network, x), gradients(reference, x), rtol=1e-9, atol=1e-11)


def test_parameters_are_reached_when_the_input_asks_for_no_gradient() -> None:
    network = stack(2).double()
    network(torch.randn(2, 4, 5, 5).double()).square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_two_passes_of_one_network_add_up() -> None:
    network = stack(2).double()
    reference = plain(network)
    a, b = torch.randn(2, 2, 4, 5, 5).double()
    for net in (network, reference):
        (net(a).square().sum() + net(b).square().sum()).backward()
    torch.testing.assert_close([p.grad for p in network.parameters()], [p.grad for p in reference.parameters()], rtol=1e-9, atol=1e-11)


def test_half_precision_is_that_of_the_forward_also_in_the_recomputation() -> None:
    network = stack(3, channels=8)
    reference = plain(network)
    x = torch.randn(4, 8, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        y, expected = network(x), reference(x)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, expected)
    y.square().mean().backward()
    expected.square().mean().backward()
    for mine, theirs in zip(network.parameters(), reference.parameters(), strict=True):
        assert (mine.grad - theirs.grad).norm() <= 0.05 * theirs.grad.norm() + 1e-3


def test_there_is_no_second_derivative() -> None:
    network, x = stack(1).double(), torch.randn(2, 4, 5, 5).double().requires_grad_()
    (gradient,) = torch.autograd.grad(network(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


class Kept:
    """A tensor kept by autograd; counted while it lives."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class Memory:
    """Bytes of the activations that autograd keeps at once: now, and at most so far. Parameters do not count."""

    def __init__(self, network: nn.Module) -> None:
        self.parameters = {p.data_ptr() for p in network.parameters()}
        self.users: dict[int, int] = {}  # of a storage: several nodes may keep the same one
        self.now = self.peak = 0

    def pack(self, tensor: Tensor) -> Kept:
        kept = Kept(tensor)
        pointer, size = tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()
        if pointer not in self.parameters:
            self.users[pointer] = self.users.get(pointer, 0) + 1
            self.now += size * (self.users[pointer] == 1)
            self.peak = max(self.peak, self.now)
            weakref.finalize(kept, self.free, pointer, size)
        return kept

    def free(self, pointer: int, size: int) -> None:
        self.users[pointer] -= 1
        self.now -= size * (self.users[pointer] == 0)


def memory(network: nn.Module) -> tuple[int, int]:
    """Bytes of activations kept after the forward, and at the peak of forward and backward."""
    counted = Memory(network)
    with torch.autograd.graph.saved_tensors_hooks(counted.pack, lambda kept: kept.tensor):
        y = network(torch.randn(2, 8, 16, 16).requires_grad_())
        after_forward = counted.now
        y.sum().backward()
    return after_forward, counted.peak


def test_activation_memory_does_not_grow_with_depth() -> None:
    shallow, deep = memory(stack(2, channels=8)), memory(stack(16, channels=8))
    assert shallow == deep
    output = 2 * 8 * 16 * 16 * 4
    assert shallow[0] == output  # bytes of y, and nothing else
    plain_shallow, plain_deep = memory(plain(stack(2, channels=8))), memory(plain(stack(16, channels=8)))
    assert plain_deep[0] > 7 * plain_shallow[0]
    assert plain_deep[1] > 20 * deep[1]
