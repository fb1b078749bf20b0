from __future__ import annotations

import torch

from biggan_scale.losses.path_length import path_lengths


def test_of_a_linear_generator_is_the_norm_of_its_transpose() -> None:
    """G(w) = M w for a w in a single layer: J = M, length = |M^T y| / sqrt(pixels)."""
    M = torch.randn(3 * 4 * 5, 7, dtype=torch.float64)
    ws = torch.randn(6, 1, 7, dtype=torch.float64, requires_grad=True)
    noise = torch.randn(6, 3, 4, 5, dtype=torch.float64)
    lengths = path_lengths((ws[:, 0] @ M.T).view(6, 3, 4, 5), ws, noise)
    torch.testing.assert_close(lengths, (noise.flatten(1) @ M).norm(dim=1) / (4 * 5) ** 0.5)


def test_layers_enter_by_the_mean_of_their_squares() -> None:
    scale = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    ws = torch.randn(2, 3, 1, dtype=torch.float64, requires_grad=True)
    images = (ws[:, :, 0] * scale).sum(1).view(2, 1, 1, 1)
    lengths = path_lengths(images, ws, torch.ones(2, 1, 1, 1, dtype=torch.float64))
    torch.testing.assert_close(lengths, torch.full((2,), (14 / 3) ** 0.5, dtype=torch.float64))


def test_its_gradient_is_that_of_finite_differences() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 12)).double()
    w, noise = torch.randn(2, 1, 4, dtype=torch.float64), torch.randn(2, 3, 2, 2, dtype=torch.float64)

    def total() -> torch.Tensor:
        ws = w.clone().requires_grad_()
        return path_lengths(net(ws[:, 0]).view(2, 3, 2, 2), ws, noise).sum()

    total().backward()
    weight, h = net[0].weight, 1e-6
    for index in ((0, 0), (5, 3)):
        gradient = float(weight.grad[index])
        ends = []
        for sign in (1, -1):
            weight.data[index] += sign * h
            ends.append(float(total().detach()))
            weight.data[index] -= sign * h
        assert abs((ends[0] - ends[1]) / (2 * h) - gradient) < 1e-7 * max(1, abs(gradient))
