from __future__ import annotations

import torch

from biggan_scale.nn.adain import AdaIn


def test_channels_have_the_mean_and_deviation_that_w_says() -> None:
    adain, x, w = AdaIn(5, 3).double(), torch.randn(2, 3, 9, 7).double() * 4 + 2, torch.randn(2, 5).double()
    y, style = adain(x, w), adain.style(w)
    torch.testing.assert_close(y.mean((2, 3)), style[:, 3:])
    torch.testing.assert_close(y.std((2, 3), correction=0), style[:, :3].abs())
    plain = adain(x, torch.zeros(2, 5).double())
    torch.testing.assert_close(plain, (x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), correction=0, keepdim=True))
