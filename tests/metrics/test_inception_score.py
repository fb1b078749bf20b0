"""The inception score against torch-fidelity on seeded logits, and at the ends of its range."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from biggan_scale.metrics.inception_score import inception_score
from metrics.reference import digest

# torch-fidelity 0.4.0, without shuffling: recipe of the logits, their digest, (mean, deviation) by the number of splits.
REFERENCE = {
    "10 classes": (
        dict(num=1000, num_classes=10, seed=11, spread=2.0),
        "e073c2f6bbeaebd9",
        {1: (2.6457632321876625, 0.0), 10: (2.6225186781714944, 0.10764262341126905)},
    ),
    "1000 classes": (
        dict(num=2000, num_classes=1000, seed=12, spread=3.0),
        "2f633f4d9fa5d590",
        {1: (31.453354275996904, 0.0), 10: (25.292399306068386, 0.7850120748702822)},
    ),
}


def logits(num: int, num_classes: int, seed: int, spread: float) -> np.ndarray:
    return np.random.RandomState(seed).randn(num, num_classes) * spread


@pytest.mark.parametrize("num_splits", [1, 10])
@pytest.mark.parametrize(("recipe", "made", "expected"), REFERENCE.values(), ids=REFERENCE)
def test_equals_torch_fidelity(recipe: dict, made: str, expected: dict, num_splits: int) -> None:
    scores = logits(**recipe)
    assert digest(scores) == made
    probabilities = torch.from_numpy(scores).softmax(1)
    assert inception_score(probabilities, num_splits) == pytest.approx(expected[num_splits], rel=1e-11, abs=1e-11)


def test_is_the_number_of_classes_where_each_is_certain_and_all_occur() -> None:
    assert inception_score(torch.eye(7).repeat(10, 1), 10) == pytest.approx((7, 0), abs=1e-12)


@pytest.mark.parametrize("row", [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]], ids=["unsure", "one class"])
def test_is_1_where_all_images_answer_alike(row: list[float]) -> None:
    assert inception_score(torch.tensor([row]).repeat(20, 1), 2) == pytest.approx((1, 0), abs=1e-12)


def test_every_image_is_in_one_split() -> None:
    probabilities = torch.eye(3)[[0, 1, 2, 0, 1, 1, 1]]  # 2 + 2 + 3: scores 2, 2, 1
    assert inception_score(probabilities, 3).mean == pytest.approx((2 + 2 + 1) / 3, rel=1e-12)
