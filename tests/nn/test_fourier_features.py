"""Waves at known places, and that they move and turn as they are told."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from biggan_scale.nn.fourier_features import FourierFeatures


def subject(size: tuple[int, int] = (12, 12), channels: int = 6, bandwidth: float = 2.0) -> FourierFeatures:
    return FourierFeatures(w_dim=5, channels=channels, size=size, rate=8.0, bandwidth=bandwidth).double()


def test_every_channel_is_a_mix_of_waves() -> None:
    features = subject((8, 12))
    images, w = features(torch.randn(2, 5, dtype=torch.float64)), features.weight / math.sqrt(6)
    y, x = 3, 10  # of 8 x 12 values, 8 in a unit, the origin between the middle ones
    place = torch.tensor([(x + 0.5 - 6) / 8, (y + 0.5 - 4) / 8], dtype=torch.float64)
    waves = torch.sin(2 * math.pi * (features.frequencies @ place + features.phases))
    for image in images:  # whatever w is: at first nothing moves
        torch.testing.assert_close(image[:, y, x], w @ waves)


def test_frequencies_are_uniform_in_the_disc_of_the_bandwidth() -> None:
    features = subject(channels=3_000)
    radius = features.frequencies.norm(dim=1)
    assert radius.max() <= 2
    for r in (0.5, 1.0, 1.5):  # the share of a disc is that of its area
        share = (r / 2) ** 2
        assert abs((radius < r).double().mean() - share) < 5 * math.sqrt(share * (1 - share) / 3_000)
    assert features.frequencies.mean(0).abs().max() < 5 * 1.0 / math.sqrt(3_000)


def moved(features: FourierFeatures, bias: list[float]) -> Tensor:
    features.affine.bias.data = torch.tensor(bias, dtype=torch.float64)
    return features(torch.zeros(1, 5, dtype=torch.float64))


def test_w_moves_and_turns_the_waves() -> None:
    features = subject()
    still = moved(features, [1, 0, 0, 0])
    torch.testing.assert_close(moved(features, [3, 0, 3 * 2 / 8, 3 * -1 / 8])[..., :-1, 2:], still[..., 1:, :-2])  # right by 2, up by 1
    quarter = moved(features, [0, 1, 0, 0])
    assert torch.allclose(quarter, still.rot90(1, (2, 3))) or torch.allclose(quarter, still.rot90(-1, (2, 3)))
    assert not torch.allclose(quarter, still)


def test_transform_is_applied_on_top() -> None:
    features = subject()
    still = moved(features, [1, 0, 0, 0])
    features.transform[0, 2] = 1 / 8
    torch.testing.assert_close(moved(features, [1, 0, 0, 0])[..., :-1], still[..., 1:])


def test_waves_that_a_transform_raises_are_faded_out() -> None:
    features = subject()
    assert moved(features, [1, 0, 0, 0]).abs().max() > 0.1
    features.transform.copy_(torch.diag(torch.tensor([1e3, 1e3, 1.0])))
    torch.testing.assert_close(moved(features, [1, 0, 0, 0]), torch.zeros(1, 6, 12, 12, dtype=torch.float64))
