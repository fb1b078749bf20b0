"""The filtered non-linearity: what it computes, and that it makes no aliases."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from biggan_scale.nn.equalized import leaky_relu
from biggan_scale.nn.filtered_relu import FilteredLeakyRelu
from biggan_scale.nn.lowpass import jinc_lowpass, sinc_lowpass


def plain(x: Tensor, up: int, up_taps: Tensor, down: int, down_taps: Tensor, padding: tuple[int, int]) -> Tensor:
    """By the definition: zeros inserted, padded, filtered, bent, filtered, every n-th value kept."""
    batch, channels, height, width = x.shape
    raised = torch.zeros(batch, channels, height, up, width, up, dtype=x.dtype)
    raised[:, :, :, 0, :, 0] = x * up**2
    h = F.pad(raised.reshape(batch, channels, height * up, width * up), (*padding, *padding))

    def filtered(h: Tensor, taps: Tensor) -> Tensor:
        kernel = torch.outer(taps, taps) if taps.ndim == 1 else taps
        return F.conv2d(h, kernel.to(h.dtype).expand(channels, 1, -1, -1), groups=channels)

    return filtered(leaky_relu(filtered(h, up_taps)), down_taps)[:, :, ::down, ::down]


@pytest.mark.parametrize(("up", "down"), [(2, 2), (4, 2), (2, 4)])
@pytest.mark.parametrize("padding", [(9, 8), (-6, -9)])
@pytest.mark.parametrize("lowpass", [sinc_lowpass, jinc_lowpass])
def test_it_is_its_definition(up: int, down: int, padding: tuple[int, int], lowpass: object) -> None:
    x = torch.randn(2, 3, 30, 27, dtype=torch.float64)
    up_taps, down_taps = sinc_lowpass(6 * up, 2.0, 2.0, 16.0), lowpass(6 * down, 2.0, 2.0, 16.0)  # type: ignore[operator]
    subject = FilteredLeakyRelu(up, up_taps, down, down_taps, padding, clamp=None).double()
    torch.testing.assert_close(subject(x), plain(x, up, up_taps.float(), down, down_taps.float(), padding), rtol=0, atol=1e-6)


def test_values_are_clamped_between_the_filters() -> None:
    subject = FilteredLeakyRelu(2, sinc_lowpass(12, 2.0, 2.0, 16.0), 2, sinc_lowpass(12, 2.0, 2.0, 16.0), (11, 10), clamp=1.0)
    assert subject(torch.full((1, 1, 30, 30), 100.0))[0, 0, 15, 15] == pytest.approx(1, abs=1e-3)


def test_a_wave_that_is_moved_gives_the_same_moved() -> None:
    """Half a sample along: with filters the results are one signal; a plain leaky ReLU has made frequencies that the grid cannot hold."""
    rate, frequency, n = 16.0, 5.0, 64
    cutoff, half_width = 5.5, 2.0
    taps = sinc_lowpass(48, cutoff, half_width, 8 * rate)  # more taps than the paper's, so that little is left to excuse
    subject = FilteredLeakyRelu(8, taps, 8, taps, (47 - 7, 47), clamp=None).double()

    def wave(shift: float) -> Tensor:
        places = (torch.arange(n, dtype=torch.float64) + shift) / rate
        return torch.sin(2 * math.pi * frequency * places).expand(1, 1, n, n)

    def error(function: object) -> float:
        """Of the moved result against the moved wave's, moved by its spectrum, in the middle."""
        a, b = (function(wave(shift))[0, 0, n // 2] for shift in (0.0, 0.5))  # type: ignore[operator]
        window = torch.hann_window(len(a), periodic=False, dtype=torch.float64)
        frequencies = torch.fft.rfftfreq(len(a), dtype=torch.float64)
        moved = torch.fft.irfft(torch.fft.rfft(a * window) * torch.exp(1j * math.pi * frequencies), n=len(a))
        middle = slice(len(a) // 2 - 8, len(a) // 2 + 8)
        return float((moved / window - b)[middle].abs().max())

    assert error(subject) < 0.3 * error(leaky_relu)
