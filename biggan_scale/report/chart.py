"""A line chart in SVG: means as lines, extremes as bands, restarts as dashes, values that were not finite as marks at the bottom."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

from biggan_scale.report.series import Series, Stretch

WIDTH, HEIGHT = 460, 230
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 10, 34  # margins round the plot
# Okabe and Ito 2008: to be told apart by everybody.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
LOG_FROM = 100.0  # a chart of positive numbers whose largest is that many times its smallest has a logarithmic axis
NUM_TICKS = 5
CLOCK_UNITS = ((1_000_000_000, "Gimg"), (1_000_000, "Mimg"), (1000, "kimg"), (1, "img"))


def color(index: int) -> str:
    return COLORS[index % len(COLORS)]


def svg(lines: Sequence[Series], restarts: Sequence[int] = ()) -> str:
    """The chart of some series that share their axes.

    Args:
        lines: each with at least one stretch.
        restarts: moments of the clock (images) that are marked.
    """
    axes = Axes(lines)
    parts = [
        *axes.grid(),
        *(f'<path class="restart" d="M{axes.x(nimg)} {TOP}V{HEIGHT - BOTTOM}"/>' for nimg in restarts if axes.shows(nimg)),
        *(part for index, line in enumerate(lines) for part in _line(axes, line, color(index))),
    ]
    label = escape(", ".join(line.name for line in lines), quote=True)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


class Axes:
    """From images seen and values to places in the picture."""

    def __init__(self, lines: Sequence[Series]) -> None:
        clock = [stretch.nimg for line in lines for stretch in line.stretches]
        self.first, self.last = min(clock), max(clock)
        low, high = min(line.low for line in lines), max(line.high for line in lines)
        if low > high:  # nothing is finite
            low, high = 0.0, 1.0
        self.logarithmic = low > 0 and high > low * LOG_FROM
        if low == high:
            low, high = low - (abs(low) / 2 or 1), high + (abs(high) / 2 or 1)
        self.low, self.high = low, high

    def shows(self, nimg: int) -> bool:
        return self.first <= nimg <= self.last

    def x(self, nimg: float) -> float:
        share = (nimg - self.first) / (self.last - self.first) if self.last > self.first else 0.5
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        low, high, value = (math.log(v) if self.logarithmic else v for v in (self.low, self.high, value))
        return round(TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    def grid(self) -> Iterator[str]:
        """Ticks with their labels, and what the clock counts."""
        for value in log_ticks(self.low, self.high) if self.logarithmic else ticks(self.low, self.high):
            y = self.y(value)
            yield f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/><text class="y" x="{LEFT - 6}" y="{y + 4}">{value:.4g}</text>'
        size, unit = next((size, unit) for size, unit in CLOCK_UNITS if self.last >= size or size == 1)
        for value in ticks(self.first / size, self.last / size) or [self.last / size]:
            yield f'<text class="x" x="{self.x(value * size)}" y="{HEIGHT - BOTTOM + 15}">{value:.6g}</text>'
        yield f'<text class="unit" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}">{unit} seen</text>'


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from low to high, about NUM_TICKS of them."""
    if not high > low:
        return []
    rough = (high - low) / NUM_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten from low to high, thinned out where there are many."""
    powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    return [10.0**power for power in powers[:: math.ceil(len(powers) / (2 * NUM_TICKS))]]


def _line(axes: Axes, line: Series, stroke: str) -> Iterator[str]:
    for finite, group in groupby(line.stretches, lambda stretch: stretch.finite > 0):
        stretches = list(group)
        if finite:
            yield from _piece(axes, stretches, stroke)
    for stretch in line.stretches:
        if stretch.finite < stretch.records:
            yield f'<path class="bad" d="M{axes.x(stretch.nimg)} {HEIGHT - BOTTOM}v-7"><title>not finite</title></path>'


def _piece(axes: Axes, stretches: Sequence[Stretch], stroke: str) -> Iterator[str]:
    """A line without gaps."""
    if any(stretch.high > stretch.low for stretch in stretches):
        outline = [(s.nimg, s.high) for s in stretches] + [(s.nimg, s.low) for s in reversed(stretches)]
        yield f'<polygon points="{_points(axes, outline)}" fill="{stroke}" fill-opacity="0.18"/>'
    if len(stretches) == 1:
        (only,) = stretches
        yield f'<circle cx="{axes.x(only.nimg)}" cy="{axes.y(only.mean)}" r="2.5" fill="{stroke}"/>'
    else:
        yield f'<polyline points="{_points(axes, [(s.nimg, s.mean) for s in stretches])}" stroke="{stroke}"/>'


def _points(axes: Axes, points: Sequence[tuple[int, float]]) -> str:
    return " ".join(f"{axes.x(nimg)},{axes.y(value)}" for nimg, value in points)
