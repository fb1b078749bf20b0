"""Low-pass filters designed by Kaiser windows (Karras et al. 2021, 2106.12423, appendix C).

The ideal filter of a cutoff f_c is a sinc along one axis, and a jinc, 2 J1(x) / x, for all directions alike. A window cuts it to n taps;
Kaiser's rule gives the window the shape beta that trades width of the transition band for attenuation, from the width that is asked for:

    A = 2.285 (n - 1) pi (2 f_h / (s / 2)) + 7.95    dB
    beta = 0.1102 (A - 8.7)                          above 50 dB
           0.5842 (A - 21)^0.4 + 0.07886 (A - 21)    from 21 to 50 dB, and 0 below

Cutoff f_c, half-width f_h of the transition band and sampling rate s are in cycles, and samples, per unit of length.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinc_lowpass(num_taps: int, cutoff: float, half_width: float, rate: float) -> Tensor:
    """(num_taps,) float64 of sum 1, symmetric: to be applied along each axis.

    Args:
        num_taps: length of the filter.
        cutoff: f_c, where the amplitude is a half (a jinc's is 0.44).
        half_width: f_h, from the cutoff to where the stopband begins.
        rate: s, of the signal that is filtered.
    """
    places = _places(num_taps, rate)
    taps = torch.sinc(2 * cutoff * places) * _window(num_taps, half_width, rate)
    return taps / taps.sum()


def jinc_lowpass(num_taps: int, cutoff: float, half_width: float, rate: float) -> Tensor:
    """(num_taps, num_taps) float64 of sum 1, with the same response in all directions; for the arguments see `sinc_lowpass`.

    The number of taps is even: no tap is at the centre.
    """
    assert num_taps % 2 == 0
    places, window = _places(num_taps, rate), _window(num_taps, half_width, rate)
    phase = 2 * math.pi * cutoff * torch.hypot(places[:, None], places[None, :])
    taps = torch.special.bessel_j1(phase) / phase * torch.outer(window, window)
    return taps / taps.sum()


def kaiser_beta(num_taps: int, half_width: float, rate: float) -> float:
    """The shape of the window, by the rule above."""
    attenuation = 2.285 * (num_taps - 1) * math.pi * 2 * half_width / (rate / 2) + 7.95
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    return 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21) if attenuation > 21 else 0.0


def _places(num_taps: int, rate: float) -> Tensor:
    return (torch.arange(num_taps, dtype=torch.float64) - (num_taps - 1) / 2) / rate


def _window(num_taps: int, half_width: float, rate: float) -> Tensor:
    return torch.kaiser_window(num_taps, periodic=False, beta=kaiser_beta(num_taps, half_width, rate), dtype=torch.float64)
