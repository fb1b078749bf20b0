from __future__ import annotations

import math

import pytest
import torch

from biggan_scale.metrics.separation import separation


def test_it_is_the_share_of_pairs_in_order_with_ties_as_half() -> None:
    a, b = torch.randint(5, (7,)).double(), torch.randint(5, (9,)).double()
    pairs = [(x > y) + (x == y) / 2 for x in a.tolist() for y in b.tolist()]
    assert separation(a, b) == pytest.approx(sum(pairs) / len(pairs))
    assert separation(a, b) + separation(b, a) == pytest.approx(1)


def test_only_the_order_counts() -> None:
    a, b = torch.randn(20).double(), torch.randn(30).double()
    assert separation(a, b) == separation(a.mul(100).sinh(), b.mul(100).sinh())
    assert (separation(a + 100, b), separation(a - 100, b), separation(a, a)) == (1, 0, 0.5)


def test_what_is_not_finite_has_no_order() -> None:
    assert math.isnan(separation(torch.tensor([1.0, math.nan]), torch.tensor([0.0])))
    assert math.isnan(separation(torch.tensor([1.0]), torch.tensor([math.inf])))
