from __future__ import annotations

import math

import pytest
import torch

from biggan_scale.config import ImageSpec
from biggan_scale.dist.seeds import Noise
from biggan_scale.latent.joint import Config, Joint
from biggan_scale.latent.truncation import truncated_normal


def prior(**options: object) -> Joint:
    return Joint(Config(**options), ImageSpec(32, 32, 3, 0))


def test_parts_lie_side_by_side_and_have_their_distributions() -> None:
    joint = prior(normal=3, uniform=2, categories=(4, 2))
    assert joint.dim == 3 + 2 + 4 + 2
    z = joint.sample(Noise(0, range(4000), "s"))
    codes = joint.split(z)
    assert torch.equal(joint.join(codes), z)
    assert codes.normal.std().item() == pytest.approx(1, abs=0.03)
    assert codes.uniform.abs().max() <= 1
    assert codes.uniform.var().item() == pytest.approx(1 / 3, abs=0.02)
    for code, number in zip(codes.categorical, (4, 2), strict=True):
        assert torch.equal(code.sum(1), torch.ones(4000)) and set(code.unique().tolist()) == {0.0, 1.0}
        torch.testing.assert_close(code.mean(0), torch.full((number,), 1 / number), rtol=0, atol=0.03)


def test_truncation_restricts_the_gaussian_values_only() -> None:
    joint = prior(normal=5, uniform=2, categories=(3,))
    full, half = (joint.split(joint.sample(Noise(1, range(8), "s"), t)) for t in (None, 0.5))
    torch.testing.assert_close(half.normal, truncated_normal(full.normal, 0.5))
    assert torch.equal(half.uniform, full.uniform) and torch.equal(half.categorical[0], full.categorical[0])


def test_entropy_is_that_of_the_categories() -> None:
    assert prior(categories=(4, 2)).entropy == pytest.approx(3 * math.log(2))
    assert prior(categories=(), normal=3).entropy == 0


@pytest.mark.parametrize("options", [{"normal": -1}, {"normal": 0, "categories": ()}, {"categories": (1,)}])
def test_impossible_priors_are_refused(options: dict) -> None:
    with pytest.raises(ValueError, match=r"must be 0 or more|needs at least 2"):
        Config(**options)


def test_a_sheet_has_codes_in_its_rows_and_noise_in_its_columns() -> None:
    joint = prior(normal=3, uniform=2, categories=(4, 2))
    columns, rows = 5, 4 + 2 + 1
    z = joint.sample(Noise(0, range(rows * columns), "s"))
    assert joint.num_rows == 6
    sheet = [joint.split(row) for row in joint.arrange(z, columns).split(columns)]
    first = joint.split(z[:columns])
    for category, row in enumerate(sheet[:4]):
        assert row.categorical[0].argmax(1).tolist() == [category] * columns and torch.equal(row.categorical[0].sum(1), torch.ones(columns))
        for mine, drawn in zip(
            (row.normal, row.uniform, row.categorical[1]), (first.normal, first.uniform, first.categorical[1]), strict=True
        ):
            assert torch.equal(mine, drawn)
    for code, row in enumerate(sheet[4:6]):
        torch.testing.assert_close(row.uniform[:, code], torch.linspace(-1, 1, columns))
        assert torch.equal(row.uniform[:, 1 - code], first.uniform[:1, 1 - code].expand(columns))
        assert torch.equal(row.normal, first.normal[:1].expand(columns, -1))
    assert torch.equal(joint.join(sheet[6]), z[6 * columns :])
