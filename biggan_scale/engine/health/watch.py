"""The watch over a run's health: measures now and then, remembers, judges, tells.

Only rank 0 has one. It changes nothing of the training state, and keeps its own in `health.json` of the run directory: what was
measured lately, so that a resumed run judges growth as an undisturbed one. Measurements are due by the clock, hence the same in
both.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from biggan_scale.data.index import Dataset
from biggan_scale.data.streaming import Stream
from biggan_scale.engine.health.alarms import Alarm, Measurement, confirmed, crossed_limits, remembered
from biggan_scale.engine.health.examples import read_examples, read_held_out
from biggan_scale.engine.health.measure import measure_gradients, measure_samples, measure_weights
from biggan_scale.engine.loop import Engine
from biggan_scale.engine.run_dir import RunDir, now

FILE = "health.json"
ROUNDS = 10  # that gradient norms are medians of
CURABLE = ("collapse", "explosion", "won", "lost", "not_finite")  # by going back; what D knows by heart it will learn again


class Health:
    """Args:
    engine: the run, at the moment it begins or resumes at.
    dataset: what it is trained on.
    run_dir: where health.json is.
    say: told of alarms that come and go.

    Raises: ConfigError, DataError: of `health.held_out`.
    """

    def __init__(self, engine: Engine, dataset: Dataset | Stream, run_dir: RunDir, say: Callable[[str], None]) -> None:
        self.config = engine.config.health
        self.alarms: list[Alarm] = []
        self._engine = engine
        self._run_dir = run_dir
        self._say = say
        self._real = read_examples(engine.config, dataset)
        self._held_out = read_held_out(engine.config, dataset)
        self._rounds: deque[Mapping[str, Tensor]] = deque(maxlen=ROUNDS)
        self._unlogged: dict[str, float] = {}
        self._told_off = False
        self._history = _read_history(run_dir)
        self.rewind()

    def watch(self, stats: Mapping[str, Tensor]) -> None:
        """A round's stats, each round. Waits for nothing."""
        self._rounds.append({name: value for name, value in stats.items() if name.endswith("/grad_norm")})

    def measure(self) -> str | None:
        """Measure this moment, judge it and write it down. Returns the reason to roll back, if there is one."""
        engine, config = self._engine, self.config
        values = measure_samples(engine, self._real, self._held_out)
        values |= measure_gradients(engine.game, engine.clock, self._rounds)
        sigmas = measure_weights(engine.game)
        first = {layer: leading[0] for layer, leading in sigmas.items()}
        taken = Measurement(engine.clock.nimg, engine.clock.round, values, first, bad_rounds=engine.bad_rounds)
        grace = config.grace.images(engine.images_per_round)
        assert grace is not None, "the loader refuses times here"
        crossed = crossed_limits(taken, self._history, config, in_grace=taken.nimg < grace)
        alarms = list(confirmed(crossed, taken, self._history, config))
        self._history = remembered([*self._history, replace(taken, crossed=tuple(alarm.name for alarm in alarms))])
        self._tell(alarms, values)
        self.alarms = alarms
        self._unlogged = {f"health/{name}": value for name, value in values.items()}
        self._unlogged |= {f"health/sigma/{layer}": value for layer, value in first.items()}
        self._run_dir.write_json(FILE, self._content(values, sigmas))
        return next((alarm.says for alarm in alarms if alarm.confirmed and alarm.name in CURABLE), None)

    def unlogged(self) -> dict[str, float]:
        """What was measured since the last call, as "health/NAME", for the log."""
        values, self._unlogged = self._unlogged, {}
        return values

    @property
    def measured_nimg(self) -> int | None:
        """The moment of the last measurement."""
        return self._history[-1].nimg if self._history else None

    @property
    def crossed(self) -> list[str]:
        """The limits that it crossed, alarm or not yet: a checkpoint of now is not one to go back to."""
        return list(self._history[-1].crossed) if self._history else []

    def rewind(self) -> None:
        """Forget what was measured after the moment the engine is at."""
        nimg = self._engine.clock.nimg
        self._history = [measurement for measurement in self._history if measurement.nimg <= nimg]
        self._rounds.clear()
        self._unlogged, self.alarms = {}, []

    def _tell(self, alarms: list[Alarm], values: Mapping[str, float]) -> None:
        if not self._told_off and "score_real" in values and self._held_out is None and self.config.max_memory is not None:
            self._say("health: whether D overfits is not watched: health.held_out is not given")
        self._told_off = True
        kimg = f"{self._engine.clock.nimg / 1000:.3f} kimg"
        before = {alarm.name for alarm in self.alarms if alarm.confirmed}
        after = {alarm.name for alarm in alarms if alarm.confirmed}
        for alarm in alarms:
            if alarm.name in after - before:
                self._say(f"health at {kimg}: {alarm.says}")
        for name in sorted(before - after):
            self._say(f"health at {kimg}: {name} is over")

    def _content(self, values: Mapping[str, float], sigmas: Mapping[str, list[float]]) -> dict[str, Any]:
        return {
            "nimg": self._engine.clock.nimg,
            "round": self._engine.clock.round,
            "time": now(),
            "healthy": not self.alarms,
            "alarms": [alarm.as_json() for alarm in self.alarms],
            "values": _finite(values),
            "singular_values": {layer: [_number(value) for value in leading] for layer, leading in sigmas.items()},
            "history": [
                {"nimg": m.nimg, "round": m.round, "values": _finite(m.values), "sigmas": _finite(m.sigmas), "crossed": list(m.crossed)}
                for m in self._history
            ],
        }


def _read_history(run_dir: RunDir) -> list[Measurement]:
    """The history of an earlier attempt; nothing where there is none that can be read."""
    try:
        entries = json.loads((run_dir.path / FILE).read_text())["history"]
        return [
            Measurement(int(e["nimg"]), int(e["round"]), _floats(e["values"]), _floats(e["sigmas"]), tuple(map(str, e["crossed"])))
            for e in entries
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """JSON knows no NaN."""
    return {name: _number(value) for name, value in values.items()}


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _floats(values: Mapping[str, float | None]) -> dict[str, float]:
    return {str(name): math.nan if value is None else float(value) for name, value in values.items()}
