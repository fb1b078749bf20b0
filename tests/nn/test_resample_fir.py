"""Against the definition, written out with zeros inserted and a sum over taps in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from biggan_scale.nn.fir_conv import downsample_conv2d, upsample_conv2d
from biggan_scale.nn.resample_fir import Fir, upfirdn


def by_definition(x: np.ndarray, kernel: np.ndarray, up: int, down: int, padding: tuple[int, int], gain: float) -> np.ndarray:
    batch, channels, height, width = x.shape
    raised = np.zeros((batch, channels, height * up, width * up))
    raised[:, :, ::up, ::up] = x
    before, after = padding
    padded = np.pad(raised, ((0, 0), (0, 0), (max(before, 0), max(after, 0)), (max(before, 0), max(after, 0))))
    padded = padded[:, :, max(-before, 0) : padded.shape[2] - max(-after, 0), max(-before, 0) : padded.shape[3] - max(-after, 0)]
    rows, columns = padded.shape[2] - len(kernel) + 1, padded.shape[3] - len(kernel) + 1
    y = sum(kernel[i, j] * padded[:, :, i : i + rows, j : j + columns] for i in range(len(kernel)) for j in range(len(kernel)))
    return gain * y[:, :, ::down, ::down]


SHORT, LONG = torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 2, 4, 7, 9, 9, 7, 4, 2, 1])


@pytest.mark.parametrize("taps", [SHORT, LONG, torch.outer(SHORT, SHORT) + torch.eye(4) + torch.eye(4).flip(0)], ids=["4", "10", "4x4"])
@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (4, 1), (1, 2)])
@pytest.mark.parametrize("padding", [(2, 1), (9, 8), (-1, 4)])
def test_equals_the_definition(taps: torch.Tensor, up: int, down: int, padding: tuple[int, int]) -> None:
    x = torch.randn(2, 3, 9, 12, dtype=torch.float64)
    taps = taps.double()
    kernel = taps if taps.ndim == 2 else torch.outer(taps, taps)
    expected = by_definition(x.numpy(), kernel.numpy(), up, down, padding, 1.7)
    np.testing.assert_allclose(upfirdn(x, taps, up, down, padding, 1.7).numpy(), expected, rtol=1e-12, atol=1e-11)


def test_up_and_down_keep_a_constant_inside_and_the_phase() -> None:
    fir = Fir()
    x = torch.full((1, 2, 8, 8), 3.0)
    torch.testing.assert_close(fir.upsample(x)[:, :, 2:-2, 2:-2], torch.full((1, 2, 12, 12), 3.0))
    torch.testing.assert_close(fir.downsample(x)[:, :, 1:-1, 1:-1], torch.full((1, 2, 2, 2), 3.0))
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)  # a symmetric filter leaves a ramp a ramp, halfway between the samples
    torch.testing.assert_close(fir.downsample(ramp)[0, 0, 4, 1:-1], torch.arange(2.5, 14, 2))
    torch.testing.assert_close(fir.upsample(ramp)[0, 0, 8, 3:-3], torch.arange(1.25, 14, 0.5)[: 32 - 6])


@pytest.mark.parametrize("size", [1, 3])
def test_convolutions_that_resample_equal_their_parts(size: int) -> None:
    fir, x, kernel = Fir().double(), torch.randn(2, 3, 8, 8, dtype=torch.float64), torch.randn(5, 3, size, size, dtype=torch.float64)
    raised = torch.zeros(2, 3, 16, 16, dtype=torch.float64)
    raised[:, :, ::2, ::2] = x
    whole = F.pad(raised, (4, 4, 4, 4))
    up = fir.blur(F.conv2d(whole, kernel.flip(2, 3)), (0, 0), gain=4)  # far more than is needed, then cut
    start = 4 - size // 2 - 2
    torch.testing.assert_close(upsample_conv2d(x, kernel, fir), up[:, :, start : start + 16, start : start + 16])
    down = F.conv2d(fir.blur(F.pad(x, (4, 4, 4, 4)), (0, 0)), kernel)
    start = 4 - size // 2 - 1
    torch.testing.assert_close(downsample_conv2d(x, kernel, None, fir), down[:, :, start : start + 8 : 2, start : start + 8 : 2])


def test_second_derivatives_are_right() -> None:
    fir = Fir().double()
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    for f in (fir.upsample, fir.downsample):
        assert torch.autograd.gradgradcheck(lambda x, f=f: f(x).square(), x)
