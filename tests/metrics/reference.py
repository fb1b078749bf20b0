"""Seeded features, and what published implementations answer for them.

Made by torch-fidelity 0.4.0, clean-fid 0.1.35, torchmetrics 1.9.0 and prdc 0.2 (scipy 1.17.1, numpy 2.1.3) in float64. The digests
tell whether the features made here are the ones those packages saw.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """recipe, digests: of the features. fid, mmd2: torch-fidelity, clean-fid within 1e-12. kid: its mean and standard deviation over
    50 subsets of `subset_size`. prdc: precision, recall, density, coverage by k, of the package prdc."""

    recipe: dict[str, Any]
    digests: tuple[str, str]
    fid: float
    mmd2: float  # of the first rows, as many as both have
    subset_size: int
    kid: tuple[float, float]
    prdc: dict[int, tuple[float, float, float, float]]


CASES = {
    "gauss": Case(
        dict(num_real=500, num_fake=500, dim=16, seed=1),
        ("a20c3b6680fe5e31", "126f8d58623ae704"),
        2.1944995213431966,
        1.1185029000739988,
        100,
        (1.1896928824065027, 0.22495580572114043),
        {3: (0.492, 0.892, 0.30466666666666664, 0.506), 5: (0.648, 0.956, 0.3372, 0.7)},
    ),
    "relu": Case(
        dict(num_real=1000, num_fake=1000, dim=64, seed=2, relu=True),
        ("c8b146576e7cc42c", "46d0be4ef7fa752c"),
        8.920280532975028,
        1.397541619729914,
        100,
        (1.4088492832315072, 0.19110965996554558),
        {3: (0.143, 0.987, 0.061, 0.139), 5: (0.198, 0.997, 0.0636, 0.213)},
    ),
    "rank_deficient": Case(
        dict(num_real=50, num_fake=50, dim=64, seed=3, relu=True),
        ("78eda017fe680082", "06c3e3bb1fd32dc4"),
        29.078158335577044,
        1.1509473656263616,
        50,
        (1.1509473656263602, 0.0),
        {3: (0.16, 0.98, 0.08, 0.14), 5: (0.3, 1.0, 0.092, 0.26)},
    ),
    "unequal_numbers": Case(
        dict(num_real=600, num_fake=400, dim=32, seed=4),
        ("470d26f3922b30a4", "533250cf069af75c"),
        4.846338128531798,
        1.0299211666430956,
        100,
        (1.0012017744401913, 0.17743372698689464),
        {3: (0.32, 0.935, 0.18916666666666665, 0.27666666666666667), 5: (0.4275, 0.9733333333333334, 0.19, 0.385)},
    ),
    "same_distribution": Case(
        dict(num_real=1000, num_fake=1000, dim=32, seed=5, shift=0.0, scale=1.0),
        ("7d49ba1d092a84db", "12938d31050329ea"),
        0.37075147508944895,
        -0.002483044850402294,
        100,
        (0.00587518080044104, 0.04022026409217301),
        {3: (0.797, 0.793, 1.0103333333333333, 0.869), 5: (0.875, 0.889, 0.9918, 0.965)},
    ),
}


def features(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Of real and generated samples, float64, checked against the digests."""
    made = correlated_features(**case.recipe)
    assert tuple(map(digest, made)) == case.digests
    return made


def correlated_features(
    num_real: int, num_fake: int, dim: int, seed: int, relu: bool = False, shift: float = 0.3, scale: float = 1.2
) -> tuple[np.ndarray, np.ndarray]:
    """(num_real, dim) and (num_fake, dim); RandomState's stream is stable by numpy's own policy."""
    random = np.random.RandomState(seed)
    mix = random.randn(dim, dim) / np.sqrt(dim)
    real = random.randn(num_real, dim) @ mix + 0.5
    fake = (random.randn(num_fake, dim) * scale) @ mix + 0.5 + shift
    return (np.maximum(real, 0), np.maximum(fake, 0)) if relu else (real, fake)


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(np.round(array, 9) + 0.0).tobytes()).hexdigest()[:16]
