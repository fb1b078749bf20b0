"""Where lines lie in a chart, and that every line can be drawn."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

import pytest

from biggan_scale.report.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, log_ticks, svg, ticks
from biggan_scale.report.series import Series

CORNERS = {"left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": HEIGHT - BOTTOM}


def series(values: Sequence[float | None], name: str = "x", step: int = 1000) -> Series:
    found = Series(name)
    for number, value in enumerate(values):
        found.add(step * number, value)
    return found


def points(picture: str) -> list[tuple[float, ...]]:
    (found,) = re.findall(r'<polyline points="([^"]*)"', picture)
    return [tuple(map(float, point.split(","))) for point in found.split()]


def test_line_runs_from_corner_to_corner() -> None:
    middle = ((CORNERS["left"] + CORNERS["right"]) / 2, (CORNERS["top"] + CORNERS["bottom"]) / 2)
    corners = [(CORNERS["left"], CORNERS["bottom"]), middle, (CORNERS["right"], CORNERS["top"])]
    assert points(svg([series([-2.0, 0.0, 2.0])])) == corners
    assert points(svg([series([0.01, 1.0, 100.0])])) == corners  # of that span the logarithm is shown


def test_lines_share_their_axes() -> None:
    picture = svg([series([0.0, 1.0]), series([1.0, 2.0])])
    first, second = (re.findall(r"[\d.]+,([\d.]+)", line) for line in re.findall(r'<polyline points="([^"]*)"', picture))
    assert first[1] == second[0]


def test_value_that_is_not_finite_is_a_gap_and_a_mark() -> None:
    picture = svg([series([0.0, 1.0, None, 1.0, 0.0])])
    assert picture.count("<polyline") == 2
    assert picture.count('class="bad"') == 1


def test_restarts_are_marked_where_they_were() -> None:
    picture = svg([series([0.0, 1.0, 2.0])], restarts=[1000, 999_000])
    assert re.findall(r'class="restart" d="M([\d.]+)', picture) == [str((CORNERS["left"] + CORNERS["right"]) / 2)]


@pytest.mark.parametrize("values", [[1.0], [0.0], [None], [None, None], [2.0, 2.0], [-5.0, -5.0], [1e-300, 1e300], [0.0, 1e-9]], ids=str)
def test_whatever_was_logged_is_a_picture(values: list[float | None]) -> None:
    picture = svg([series(values)])
    ElementTree.fromstring(picture)
    assert "nan" not in picture
    assert "inf" not in picture


def test_names_are_text() -> None:
    root = ElementTree.fromstring(svg([series([1.0], name='</svg><script>"&')]))
    assert root.get("aria-label") == '</svg><script>"&'


def test_ticks_are_round_and_within() -> None:
    assert ticks(0.0, 1.0) == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert ticks(-3.0, 17.0) == [0, 5, 10, 15]
    assert log_ticks(0.02, 30.0) == pytest.approx([0.1, 1.0, 10.0])
    assert len(log_ticks(1e-300, 1e300)) <= 10
