from __future__ import annotations

import torch

from biggan_scale.dist.seeds import Noise


def test_noise_of_a_sample_does_not_depend_on_its_neighbours() -> None:
    whole = Noise(7, range(10, 18), "D")
    part = Noise(7, [15, 12], "D")
    z, labels, u = whole.normal(5), whole.integers(9), whole.uniform(2, 3)
    assert torch.equal(part.normal(5), z[[5, 2]])
    assert torch.equal(part.integers(9), labels[[5, 2]])
    assert torch.equal(part.uniform(2, 3), u[[5, 2]])


def test_streams_seeds_and_positions_differ() -> None:
    draws = [Noise(seed, [position], stream).normal(4) for seed in (0, 1) for position in (0, 1) for stream in ("D", "G")]
    assert len({tuple(draw.flatten().tolist()) for draw in draws}) == 8


def test_noise_has_the_moments_of_its_distribution() -> None:
    noise = Noise(0, range(4000), "moments")
    z, u, labels = noise.normal(8), noise.uniform(8), noise.integers(10)
    assert abs(z.mean()) < 0.02 and abs(z.std() - 1) < 0.02  # standard error 0.0056
    assert abs(u.mean() - 0.5) < 0.01 and u.min() >= 0 and u.max() < 1
    counts = torch.bincount(labels, minlength=10).double()
    assert ((counts - 400) ** 2 / 400).sum() < 27.9  # chi squared, 9 degrees of freedom, p = 0.001
