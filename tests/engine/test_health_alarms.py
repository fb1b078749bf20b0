"""From measurements to alarms: each limit from both sides, what growth is against, and patience."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from biggan_scale.config import Duration, HealthConfig
from biggan_scale.engine.health.alarms import RECENT, Measurement, confirmed, crossed_limits, remembered

SOUND = {
    "diversity": 0.9,
    "modes": 0.8,
    "score_real": 0.5,
    "score_fake": -0.5,
    "score_held_out": 0.4,
    "score_spread": 1.0,
    "separation": 0.8,
    "memory": 0.55,
    "grad_norm/D": 2.0,
    "grad_norm/G": 1.0,
}
SIGMAS = {"G.linear": 2.0, "G.output": 1.0}


def measured(
    round: int = 100, sigmas: dict[str, float] = SIGMAS, bad_rounds: int = 0, crossed: tuple[str, ...] = (), **values: float
) -> Measurement:
    changed = {name.replace("__", "/"): value for name, value in values.items()}
    return Measurement(round * 8, round, {**SOUND, **changed}, sigmas, crossed, bad_rounds)


HISTORY = [measured(round) for round in range(10, 100, 10)]


def names(now: Measurement, history: list[Measurement] = HISTORY, *, in_grace: bool = False, **limits: Any) -> list[str]:
    return [alarm.name for alarm in crossed_limits(now, history, HealthConfig(**limits), in_grace=in_grace)]


def test_sound_run_has_no_alarm() -> None:
    assert names(measured()) == []
    assert names(measured(), []) == []


def test_a_game_in_which_nobody_judges_images_has_no_alarm_about_judgements() -> None:
    unjudged = {"diversity": 0.9, "modes": 0.8, "grad_norm/D": 2.0, "grad_norm/G": 1.0}
    history = [Measurement(round * 8, round, unjudged, SIGMAS) for round in range(10, 100, 10)]
    assert names(Measurement(800, 100, unjudged, SIGMAS), history) == []


@pytest.mark.parametrize(
    ("alarm", "limit", "changed", "just_right"),
    [
        ("collapse", "min_diversity", {"diversity": 0.29}, {"diversity": 0.31}),
        ("collapse", "min_modes", {"modes": 0.19}, {"modes": 0.21}),
        ("explosion", "max_sigma_growth", {"sigmas": {**SIGMAS, "G.linear": 6.1}}, {"sigmas": {**SIGMAS, "G.linear": 5.9}}),
        ("overfitting", "max_memory", {"memory": 0.76}, {"memory": 0.74}),
        ("won", "min_gradient", {"separation": 1.0, "grad_norm__G": 0.09}, {"separation": 1.0, "grad_norm__G": 0.11}),
        ("won", "min_gradient", {"separation": 1.0, "grad_norm__D": 0.19}, {"separation": 0.9, "grad_norm__D": 0.19}),
        ("lost", "min_separation", {"separation": 0.19}, {"separation": 0.21}),
        ("lost", "min_separation", {"separation": 0.5, "score_spread": 1e-9}, {"separation": 0.5, "score_spread": 1e-2}),
        ("not_finite", None, {"grad_norm__G": math.inf}, {}),
        ("not_finite", None, {"sigmas": {"G.linear": math.nan}}, {}),
        ("not_finite", None, {"bad_rounds": 1}, {}),
    ],
)
def test_limit_from_both_sides(alarm: str, limit: str | None, changed: dict[str, Any], just_right: dict[str, Any]) -> None:
    assert names(measured(**changed)) == [alarm]
    assert names(measured(**just_right)) == []
    if limit is not None:
        assert names(measured(**changed), **{limit: None}) == []


def test_in_grace_only_what_is_not_finite_counts() -> None:
    assert names(measured(diversity=0.0, separation=0.0), in_grace=True) == []
    assert names(measured(diversity=math.nan), in_grace=True) == ["not_finite"]


def test_diversity_that_rises_is_no_collapse() -> None:
    young = [measured(round, diversity=0.02 * round / 10) for round in range(10, 100, 10)]
    assert names(measured(diversity=0.2), young) == []
    assert names(measured(diversity=0.1), young) == ["collapse"]


def test_explosion_names_the_layer_and_its_growth() -> None:
    (alarm,) = crossed_limits(measured(sigmas={"G.linear": 7.0, "G.output": 10.0}), HISTORY, HealthConfig(), in_grace=False)
    assert alarm.value == 10
    assert alarm.means == "the first singular value of G.output is 10.0 times what it recently was"
    assert alarm.says.startswith(f"explosion: {alarm.means}; ")


def test_what_has_exploded_does_not_become_normal_by_waiting() -> None:
    history = HISTORY
    for round in range(100, 100 + 10 * 3 * RECENT, 10):
        now = measured(round, sigmas={"G.linear": 20.0})
        assert names(now, history) == ["explosion"]
        history = remembered([*history, dataclasses.replace(now, crossed=("explosion",))])
    assert len(history) == len(HISTORY) + RECENT


def test_growth_over_longer_than_the_recent_is_no_explosion() -> None:
    slow = [measured(round, sigmas={"G.linear": 1.05**i}) for i, round in enumerate(range(0, 1000, 10))]
    assert names(measured(1000, sigmas={"G.linear": 1.05**100}), slow) == []


def test_too_little_history_says_nothing_about_growth() -> None:
    assert names(measured(sigmas={"G.linear": 100.0}, separation=1.0, grad_norm__G=1e-9), HISTORY[:2]) == []


def test_alarm_is_confirmed_after_patience_in_a_row() -> None:
    config = HealthConfig(patience=3, grace=Duration(0, "img"))
    history: list[Measurement] = []
    seen = []
    for round, diversity in enumerate([0.9, 0.1, 0.1, 0.9, 0.1, 0.1, 0.1, 0.1], start=1):
        now = measured(round, diversity=diversity)
        alarms = list(confirmed(crossed_limits(now, history, config, in_grace=False), now, history, config))
        history.append(dataclasses.replace(now, crossed=tuple(alarm.name for alarm in alarms)))
        seen.append([(alarm.since_nimg // 8, alarm.confirmed) for alarm in alarms])
    assert seen == [[], [(2, False)], [(2, False)], [], [(5, False)], [(5, False)], [(5, True)], [(5, True)]]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"num": 2}, "num 2 must be at least 8"),
        ({"every": Duration(3, "min")}, "every 3 min must be of images or rounds"),
        ({"every": Duration(0, "img")}, "above 0"),
        ({"grace": Duration(1, "h")}, "grace 1 h must be of images or rounds"),
        ({"patience": 0}, "patience 0"),
        ({"min_modes": -0.1}, "min_modes -0.1 must be 0 or more, or null"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        HealthConfig(**given)
