from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from biggan_scale.metrics.diversity import compared, distances, effective_number, mean_distance


def images(num: int, size: int = 8) -> Tensor:
    return torch.rand(num, 3, size, size) * 2 - 1


def test_distances_are_root_mean_squares_of_the_averaged_pixels() -> None:
    a = images(4, 32)
    small = a.double().numpy().reshape(4, 3, 16, 2, 16, 2).mean((3, 5)).reshape(4, -1)
    wanted = np.sqrt(np.square(small[:, None] - small[None]).mean(-1))
    np.testing.assert_allclose(distances(a), wanted, atol=1e-6)


def test_mean_distance_is_over_pairs_of_different_images() -> None:
    pairs = torch.rand(20, 20, dtype=torch.float64)
    pairs = (pairs + pairs.T).fill_diagonal_(0)
    labels = torch.arange(20) % 2
    everyone = [float(pairs[i, j]) for i in range(20) for j in range(20) if i != j]
    same = [float(pairs[i, j]) for i in range(20) for j in range(20) if i != j and (i - j) % 2 == 0]
    assert mean_distance(pairs) == pytest.approx(np.mean(everyone))
    assert mean_distance(pairs, labels) == pytest.approx(np.mean(same))
    assert mean_distance(pairs, torch.arange(20)) == pytest.approx(np.mean(everyone))  # no two of one class: nothing else to take


@pytest.mark.parametrize("modes", [1, 4, 16])
def test_copies_of_a_few_images_count_as_so_many(modes: int) -> None:
    real, copies = images(64), images(modes).repeat(64 // modes, 1, 1, 1)
    assert effective_number(distances(copies), 1e-6) == pytest.approx(modes)
    diversity, number = compared(copies, real)
    assert diversity == pytest.approx((1 - 1 / modes) * 64 / 63, abs=0.05)  # blind to repetition, once there are several images
    assert number == pytest.approx(_number(modes) / _number(64), rel=0.25)  # and this is not


def _number(modes: int) -> float:
    """Of images that are all at the mean distance, where the kernel is exp(-4)."""
    return 1 / (1 / modes + (1 - 1 / modes) * np.exp(-4))


def test_one_image_repeated_has_no_diversity_and_a_set_has_its_own() -> None:
    real = images(64)
    diversity, modes = compared(real[:1].expand(64, -1, -1, -1), real)
    assert diversity == 0
    assert modes == pytest.approx(1 / effective_number(distances(real), 0.5 * mean_distance(distances(real))))
    assert compared(real, real) == (1, 1)


def test_noise_of_single_pixels_is_no_diversity() -> None:
    real = images(64, 4).repeat_interleave(16, 2).repeat_interleave(16, 3)  # (64, 3, 64, 64), constant over 16x16
    noisy = real[:1] + 0.2 * torch.randn(64, 3, 64, 64)
    assert compared(noisy, real)[0] < 0.1 < float(noisy.std(0).mean())


def test_a_class_that_collapsed_shows_where_all_images_together_do_not() -> None:
    labels = torch.arange(64) % 8
    of_class, real = images(8)[labels], images(64)
    assert compared(of_class, real, labels)[0] == 0
    assert compared(of_class, real)[0] > 0.8


def test_reference_without_any_difference_gives_no_ratio() -> None:
    assert np.isnan(compared(images(8), torch.zeros(8, 3, 8, 8))[0])
