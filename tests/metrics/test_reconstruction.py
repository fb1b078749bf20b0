from __future__ import annotations

import math

import pytest
import torch

from biggan_scale.metrics.reconstruction import agreement, distance, squared_difference


def test_squared_difference_is_a_mean_for_each_image() -> None:
    images = torch.zeros(2, 1, 2, 2)
    others = torch.tensor([[[[1.0, 1.0], [1.0, 1.0]]], [[[0.0, 0.0], [0.0, 4.0]]]])
    assert squared_difference(images, others).tolist() == [1, 4]


def test_rms_is_over_all_images_and_relative_to_that_of_other_images() -> None:
    assert distance(torch.tensor([1.0, 7.0]), torch.tensor([16.0, 16.0])) == pytest.approx((2, 0.5))


def test_perfect_reconstructions_are_0_apart() -> None:
    assert distance(torch.zeros(3), torch.ones(3)) == (0, 0)


def test_where_all_images_are_alike_there_is_no_relative_distance() -> None:
    rms, relative = distance(torch.ones(3), torch.zeros(3))
    assert rms == 1
    assert math.isnan(relative)


def test_agreement_counts_equal_most_likely_classes() -> None:
    a = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    b = torch.tensor([[0.6, 0.4], [0.6, 0.4], [0.0, 1.0]])
    assert agreement(a, b) == pytest.approx(2 / 3)
