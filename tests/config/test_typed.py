"""Every kind of annotation a config dataclass may use, there and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Optional

import pytest

from biggan_scale.config import Duration, Part, Schedule, part, tree
from biggan_scale.config.typed import BAD, typed, untyped
from support.components import LATENTS


@dataclass(frozen=True)
class Pedal:
    depth: float
    mode: Literal["soft", "hard", 1] = "soft"


@dataclass(frozen=True)
class Organ:
    name: str
    loud: bool = False
    stops: int | None = None
    size: int | tuple[int, int] = 1
    pitch: Optional[float] = None  # noqa: UP045 - the old spelling works too
    range: tuple[float, float] = (0.0, 1.0)
    pipes: tuple[int, ...] = ()
    pedal: Pedal = Pedal(1.0)
    gains: Mapping[str, float] = field(default_factory=dict)
    pedals: Mapping[str, Pedal] = field(default_factory=dict)
    wind: Duration = Duration(1, "h")  # noqa: RUF009
    swell: Schedule = Schedule.constant(1.0)  # noqa: RUF009
    prior: Part | None = part("latent", optional=True)
    priors: tuple[Part, ...] = field(default=(), metadata=part("latent").metadata)


def made(**values: Any) -> Any:
    problems: list[str] = []
    organ = typed(Organ, tree.located({"name": "o", **values}, "here"), "organ", problems)
    assert (organ is BAD) == bool(problems)
    return problems if problems else organ


@pytest.mark.parametrize(
    ("key", "written", "value"),
    [
        ("loud", True, True),
        ("stops", None, None),
        ("stops", 3, 3),
        ("size", 2, 2),
        ("size", [2, 3], (2, 3)),
        ("pitch", 440, 440.0),
        ("range", [0, 1], (0.0, 1.0)),
        ("pipes", [], ()),
        ("pipes", [1, 2, 3], (1, 2, 3)),
        ("pedal", {"depth": 2, "mode": 1}, Pedal(2.0, 1)),
        ("gains", {"a": 1}, {"a": 1.0}),
        ("pedals", {"left": {"depth": 1}}, {"left": Pedal(1.0)}),
        ("wind", "3 h", Duration(3, "h")),
        ("swell", 2, Schedule.constant(2.0)),
        ("swell", {"from": 1, "to": 2, "end": "1 kimg"}, Schedule(1.0, 2.0, end=Duration(1, "kimg"))),
        ("prior", None, None),
    ],
)
def test_value_of_every_kind(key: str, written: Any, value: Any) -> None:
    organ = made(**{key: written})
    found = getattr(organ, key)
    assert (type(found), found) == (type(value), value)
    assert typed(Organ, tree.located(untyped(organ), "here"), "organ", []) == organ


def test_components_one_or_many() -> None:
    normal, truncated = {"type": "normal", "dim": 3}, {"type": "truncated"}
    organ = made(prior=normal, priors=[normal, truncated])
    assert organ.prior.config.dim == 3
    assert [prior.type for prior in organ.priors] == ["normal", "truncated"]
    assert typed(Organ, tree.located(untyped(organ), "here"), "organ", []) == organ


@pytest.mark.parametrize(
    ("key", "written", "problem"),
    [
        ("loud", 1, "here: organ.loud: expected true or false, got 1"),
        ("stops", True, "here: organ.stops: expected a whole number, got true"),
        ("size", [1, 2, 3], "here: organ.size: expected a whole number or a list of 2, each a whole number, got a list"),
        ("range", {}, "here: organ.range: expected a list of 2, each a number, got a mapping"),
        ("pipes", [1, "x"], "here: organ.pipes[1]: expected a whole number, got 'x'"),
        ("pedal", {"mode": "soft"}, "here: missing key 'organ.pedal.depth': a number"),
        ("pedal", {"depth": 1, "mode": True}, "here: organ.pedal.mode: expected one of soft, hard, 1, got true"),
        ("pedals", {"left": 1}, "here: organ.pedals.left: expected a mapping, got 1"),
        ("gains", {"a": float("nan")}, "here: organ.gains.a: expected a number, got .nan"),
        ("gains", {"a": 10**400}, "here: organ.gains.a: expected a number, got 1000"),
        ("wind", 3, "here: organ.wind: expected a number and one of img, kimg, Mimg, rounds, s, min, h, d, like '200 kimg', got 3"),
        ("swell", "up", "here: organ.swell: expected a number, or a mapping with from, to, end, got 'up'"),
        ("priors", [{"type": "x"}], f"here: unknown organ.priors[0].type 'x'; biggan_scale/latent has: {LATENTS}"),
    ],
)
def test_value_of_no_kind(key: str, written: Any, problem: str) -> None:
    (found,) = made(**{key: written})
    assert found.startswith(problem)
