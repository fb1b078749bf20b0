from __future__ import annotations

import pytest
import torch

from biggan_scale.nn.gaussian_blur import gaussian_blur


def test_a_point_becomes_a_gaussian_of_that_width() -> None:
    point = torch.zeros(1, 2, 41, 41, dtype=torch.float64)
    point[0, 1, 20, 20] = 1
    blurred = gaussian_blur(point, 3.0)
    assert not blurred[0, 0].any() and blurred.sum().item() == pytest.approx(1)
    places = torch.arange(41, dtype=torch.float64) - 20
    for axis in (0, 1):
        assert (blurred[0, 1].sum(axis) * places.square()).sum().item() == pytest.approx(9, rel=0.04)  # cut off at 3 sigma
    assert (blurred[0, 1, 20, 23] / blurred[0, 1, 20, 20]).item() == pytest.approx(0.60653, abs=1e-5)  # exp(-1/2)


def test_nothing_is_blurred_by_less_than_a_third_of_a_pixel() -> None:
    images = torch.randn(2, 3, 8, 8)
    assert gaussian_blur(images, 0.0) is images and gaussian_blur(images, 0.3) is images
    assert not torch.equal(gaussian_blur(images, 0.4), images)
