"""Designed filters pass what is below the cutoff, halve it there, and stop it beyond the transition band; a jinc in all directions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from biggan_scale.nn.lowpass import jinc_lowpass, kaiser_beta, sinc_lowpass

TAPS, CUTOFF, HALF_WIDTH, RATE = 24, 4.0, 4.0, 32.0


def amplitude(taps: Tensor, x: float, y: float = 0.0) -> float:
    """Of a wave of (x, y) cycles per unit."""
    places = (torch.arange(len(taps), dtype=torch.float64) - (len(taps) - 1) / 2) / RATE
    if taps.ndim == 1:
        return float((taps * torch.cos(2 * math.pi * x * places)).sum())
    return float((taps * torch.cos(2 * math.pi * (x * places[None, :] + y * places[:, None]))).sum())


@pytest.mark.parametrize("design", [sinc_lowpass, jinc_lowpass])
def test_what_is_below_the_cutoff_passes_and_what_is_beyond_the_band_does_not(design: object) -> None:
    taps = design(TAPS, CUTOFF, HALF_WIDTH, RATE)  # type: ignore[operator]
    assert taps.sum().item() == pytest.approx(1) and torch.equal(taps, taps.flip(0))
    assert amplitude(taps, 0.5) == pytest.approx(1, abs=0.005)
    assert amplitude(taps, CUTOFF) == pytest.approx(0.5 if taps.ndim == 1 else 0.44, abs=0.005)
    beyond = torch.linspace(CUTOFF + HALF_WIDTH, RATE / 2, 50).tolist()
    assert max(abs(amplitude(taps, f)) for f in beyond) < 1e-2


def test_a_jinc_has_no_direction_and_a_sinc_along_both_axes_has_one() -> None:
    radial, along = jinc_lowpass(TAPS, CUTOFF, HALF_WIDTH, RATE), sinc_lowpass(TAPS, CUTOFF, HALF_WIDTH, RATE)
    f = CUTOFF / math.sqrt(2)
    assert amplitude(radial, f, f) == pytest.approx(amplitude(radial, CUTOFF), abs=0.01)
    assert abs(amplitude(torch.outer(along, along), f, f) - amplitude(along, CUTOFF)) > 0.1


def test_the_design_is_a_windowed_sinc_by_kaisers_rule() -> None:
    """Kaiser's own: 2.285 (n - 1) dw = A - 7.95 for the width dw of the transition in radians per sample."""
    width = 2 * math.pi * 2 * HALF_WIDTH / RATE
    attenuation = 2.285 * (TAPS - 1) * width + 7.95
    assert attenuation > 50
    assert kaiser_beta(TAPS, HALF_WIDTH, RATE) == pytest.approx(0.1102 * (attenuation - 8.7))
    n = np.arange(TAPS) - (TAPS - 1) / 2
    expected = np.sin(2 * np.pi * CUTOFF / RATE * n) / n * np.kaiser(TAPS, 0.1102 * (attenuation - 8.7))
    np.testing.assert_allclose(sinc_lowpass(TAPS, CUTOFF, HALF_WIDTH, RATE).numpy(), expected / expected.sum(), rtol=1e-9, atol=1e-12)
    assert kaiser_beta(12, 0.6, 32.0) == pytest.approx(0.0)  # too narrow for any attenuation beyond a plain cut
    assert 0 < kaiser_beta(12, 2.0, 32.0) < 0.1102 * (50 - 8.7)
