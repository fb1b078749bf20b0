"""When a measurement is an alarm, and what it means, in words. Pure: from measurements to sentences.

A measurement is beyond a limit when it crosses it after the grace; it is an alarm when that has been so `patience` times in a
row. Growth is against the median of recent measurements that were not beyond that limit themselves: what has exploded does not
become normal by waiting.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from biggan_scale.config import HealthConfig

RECENT = 20  # measurements that growth is judged against
MIN_RECENT = 3  # with fewer nothing is known about growth
RISING = 1.1  # times its recent median
NO_SPREAD = 1e-6  # of scores, for their size: rounding
PERFECT = 0.99  # separation from which on D errs nowhere


@dataclass(frozen=True)
class Measurement:
    """Of one moment: numbers of `measure.py` by name, leading singular values by layer, and which limits were crossed."""

    nimg: int
    round: int
    values: dict[str, float]
    sigmas: dict[str, float]
    crossed: tuple[str, ...] = ()
    bad_rounds: int = field(default=0, compare=False)  # in a row, with a gradient that was not finite


@dataclass(frozen=True)
class Alarm:
    """A limit that is crossed.

    Args:
        name: collapse, explosion, overfitting, won, lost, not_finite.
        value, limit: what was measured, and how far it may go.
        means: what that is, in a sentence. advice: what to do.
        confirmed: it has been so for `health.patience` measurements. Before that it is a suspicion.
        since_nimg: the first of them.
    """

    name: str
    value: float | None
    limit: float | None
    means: str
    advice: str
    confirmed: bool = False
    since_nimg: int = 0

    @property
    def says(self) -> str:
        return f"{self.name}: {self.means}; {self.advice}"

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


Check = Callable[[Measurement, Sequence[Measurement], HealthConfig], Alarm | None]


def crossed_limits(now: Measurement, history: Sequence[Measurement], config: HealthConfig, *, in_grace: bool) -> list[Alarm]:
    """Every limit that `now` crosses. `history`: the measurements before, oldest first."""
    checks: tuple[Check, ...] = (not_finite,) if in_grace else (not_finite, collapse, explosion, overfitting, won, lost)
    return [alarm for check in checks if (alarm := check(now, history, config)) is not None]


def not_finite(now: Measurement, history: Sequence[Measurement], config: HealthConfig) -> Alarm | None:
    names = [name for name, value in (now.values | now.sigmas).items() if not math.isfinite(value)]
    if not names and not now.bad_rounds:
        return None
    what = f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0] if names else "a gradient"
    return Alarm("not_finite", None, None, f"{what}: not finite", "go back to an older checkpoint, with a lower learning rate")


def collapse(now: Measurement, history: Sequence[Measurement], config: HealthConfig) -> Alarm | None:
    """Generated images draw together, or a few repeat; and they are not on their way apart, as those of a young generator are."""
    what = {
        "diversity": ("generated images differ from each other {:.0%} as much as real ones", config.min_diversity),
        "modes": ("there are {:.0%} as many different images among generated ones as among real ones", config.min_modes),
    }
    advice = "see the newest sheet in samples/, and go back to a checkpoint from before"
    for name, (sentence, limit) in what.items():
        value = now.values.get(name, math.nan)
        before = _recent("", history, lambda m, name=name: m.values.get(name, math.nan))  # type: ignore[misc]
        rises = before is not None and value > RISING * before
        if limit is not None and value < limit and not rises:
            return Alarm("collapse", value, limit, sentence.format(value), advice)
    return None


def explosion(now: Measurement, history: Sequence[Measurement], config: HealthConfig) -> Alarm | None:
    """The symptom of BigGAN's collapses: the first singular value of a layer shoots up (1809.11096, section 4.1)."""
    growth = {}
    for layer, sigma in now.sigmas.items():
        before = _recent("explosion", history, lambda m, layer=layer: m.sigmas.get(layer, math.nan))  # type: ignore[misc]
        if before:
            growth[layer] = sigma / before
    layer = max(growth, key=lambda name: growth[name], default="")
    if config.max_sigma_growth is None or not layer or not growth[layer] > config.max_sigma_growth:
        return None
    means = f"the first singular value of {layer} is {growth[layer]:.1f} times what it recently was"
    return Alarm("explosion", growth[layer], config.max_sigma_growth, means, "a collapse may follow; lower the learning rates")


def overfitting(now: Measurement, history: Sequence[Measurement], config: HealthConfig) -> Alarm | None:
    value, limit = now.values.get("memory", math.nan), config.max_memory
    if limit is None or not value > limit:
        return None
    means = f"D scores a training image above a held-out one with a chance of {value:.0%}: it knows them by heart"
    return Alarm("overfitting", value, limit, means, "use more data, augmentation, or a smaller D, or stop here")


def won(now: Measurement, history: Sequence[Measurement], config: HealthConfig) -> Alarm | None:
    """D errs nowhere, and the gradient of a player has gone."""
    if config.min_gradient is None or not now.values.get("separation", math.nan) >= PERFECT:
        return None
    for name in (name for name in now.values if name.startswith("grad_norm/")):
        before = _recent("won", history, lambda m, name=name: m.values.get(name, math.nan))  # type: ignore[misc]
        part = now.values[name] / before if before else math.nan
        if part < config.min_gradient:
            move = name.removeprefix("grad_norm/")
            means = f"D tells every generated image, and the gradient norm of move {move} is {part:.2%} of what it recently was"
            return Alarm("won", part, config.min_gradient, means, "weaken D (learning rate, steps) or regularise it")
    return None


def lost(now: Measurement, history: Sequence[Measurement], config: HealthConfig) -> Alarm | None:
    """D takes generated images for more real than real ones, or gives every image the same answer."""
    value, limit = now.values.get("separation", math.nan), config.min_separation
    if limit is None:
        return None
    advice = "give D more steps or a higher learning rate, or lower G's"
    if value < limit:
        means = f"D scores a real image above a generated one with a chance of only {value:.0%}: it answers wrongly"
        return Alarm("lost", value, limit, means, advice)
    spread, level = (now.values.get(name, math.nan) for name in ("score_spread", "score_real"))  # not measured where nobody judges
    if spread <= NO_SPREAD * (1 + abs(level)):
        return Alarm("lost", value, limit, "D gives every image the same score", advice)
    return None


def _recent(alarm: str, history: Sequence[Measurement], value: Callable[[Measurement], float]) -> float | None:
    """The median of what was measured lately and was not `alarm`; None if that is too little."""
    found = [number for m in history if alarm not in m.crossed and math.isfinite(number := value(m))][-RECENT:]
    return statistics.median(found) if len(found) >= MIN_RECENT else None


def remembered(history: Sequence[Measurement]) -> list[Measurement]:
    """What later judgements need: the newest measurements, and the newest that crossed no limit, which may be long ago."""
    newest, sound = history[-RECENT:], [m for m in history if not m.crossed][-RECENT:]
    return [m for m in history if m in newest or m in sound]


def confirmed(alarms: Sequence[Alarm], now: Measurement, history: Sequence[Measurement], config: HealthConfig) -> Iterator[Alarm]:
    """The same alarms, knowing since when they have been so and whether that is long enough."""
    for alarm in alarms:
        before = []
        for m in reversed(history):
            if alarm.name not in m.crossed:
                break
            before.append(m.nimg)
        yield replace(alarm, confirmed=len(before) + 1 >= config.patience, since_nimg=before[-1] if before else now.nimg)
