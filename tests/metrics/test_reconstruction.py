from __future__ import annotations

import pytest
import torch

from biggan_scale.metrics.reconstruction import agreement, distance


def test_of_itself_nothing_is_apart() -> None:
    images = torch.randn(5, 3, 4, 4)
    assert distance(images, images) == (0, 0)


def test_another_image_of_the_set_is_1_apart() -> None:
    images = torch.randn(5, 3, 4, 4)
    assert distance(images, images.roll(1, 0)).relative == pytest.approx(1)


def test_root_mean_square_of_a_constant_difference() -> None:
    features = torch.tensor([[0.0, 0.0], [4.0, 4.0]])
    assert distance(features, features + 3) == pytest.approx((3, 3 / 4))


def test_agreement_counts_equal_most_likely_classes() -> None:
    a = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    b = torch.tensor([[0.6, 0.4], [0.6, 0.4], [0.0, 1.0]])
    assert agreement(a, b) == pytest.approx(2 / 3)
