"""Precision, recall, density and coverage against published implementations on seeded features, and on a line."""

from __future__ import annotations

import pytest
import torch

from biggan_scale.metrics import distances
from biggan_scale.metrics.prdc import prdc
from metrics.reference import CASES, Case, features


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_equals_the_published_implementations(case: Case, k: int) -> None:
    real, fake = (torch.from_numpy(f) for f in features(case))
    assert prdc(real, fake, k) == pytest.approx(case.prdc[k], rel=1e-12)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES["unequal_numbers"]
    real, fake = (torch.from_numpy(f) for f in features(case))
    monkeypatch.setattr(distances, "BLOCK", 37)
    assert prdc(real, fake, 5) == pytest.approx(case.prdc[5], rel=1e-12)


def test_on_a_line() -> None:
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0]])  # k = 1: radii 1, 1, 1, 8
    fake = torch.tensor([[0.5], [5.0], [30.0]])  # radii 4.5, 4.5, 25
    precision, recall, density, coverage = prdc(real, fake, 1)
    assert precision == pytest.approx(2 / 3)  # 0.5 by two small balls, 5 by the outlier's; 30 by none
    assert recall == pytest.approx(1)  # 0, 1, 2 by the ball of 0.5; 10 by that of 30
    assert density == pytest.approx((2 + 1 + 0) / 3)
    assert coverage == pytest.approx(3 / 4)  # not 2


def test_far_from_the_origin_no_digit_is_lost() -> None:
    case = CASES["gauss"]
    real, fake = (torch.from_numpy(f) + 1e6 for f in features(case))
    assert prdc(real, fake, 5) == pytest.approx(case.prdc[5], rel=1e-12)
