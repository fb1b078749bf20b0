"""A run of any length is a line of bounded size that hides no extreme."""

from __future__ import annotations

import math

from biggan_scale.report.series import STRETCHES, Series, read


def line(values: list[float | None]) -> Series:
    return read({"nimg": 10 * number, "kimg": number / 100, "round": number, "x": value} for number, value in enumerate(values, 1))["x"]


def test_short_line_has_every_record() -> None:
    assert [(s.nimg, s.mean, s.low, s.high) for s in line([3.0, 5.0]).stretches] == [(10, 3.0, 3.0, 3.0), (20, 5.0, 5.0, 5.0)]


def test_long_line_is_bounded_and_keeps_a_spike_and_the_mean() -> None:
    values: list[float | None] = [math.sin(number) for number in range(12_345)]
    values[7001] = 1e6
    found = line(values)
    assert STRETCHES <= len(found.stretches) <= 2 * STRETCHES
    assert sum(s.records for s in found.stretches) == 12_345
    assert len({s.records for s in found.stretches[:-1]}) == 1
    (spike,) = [s for s in found.stretches if s.high == 1e6]
    assert spike.nimg - 10 * spike.records < 70_020 <= spike.nimg
    assert math.isclose(sum(s.total for s in found.stretches), math.fsum(v for v in values if v is not None), rel_tol=1e-9)
    assert [s.nimg for s in found.stretches] == sorted({s.nimg for s in found.stretches})
    assert (found.stretches[-1].nimg, found.last) == (123_450, values[-1])


def test_what_is_not_finite_is_counted_and_not_averaged() -> None:
    found = line([1.0, None, 3.0, None])
    assert (found.not_finite, found.low, found.high, found.last) == (2, 1.0, 3.0, None)
    assert math.isnan(found.stretches[1].mean)


def test_names_are_those_of_the_numbers() -> None:
    records = [{"nimg": 1, "kimg": 0.001, "round": 1, "D/loss": 2, "note": "text"}, {"nimg": 2, "G/loss": 0.5}, {"D/loss": 9.0}]
    assert {name: found.last for name, found in read(records).items()} == {"D/loss": 2, "G/loss": 0.5}
