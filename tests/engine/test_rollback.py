"""Numbers that are not finite: the round is skipped, then the run goes back to a healthy checkpoint with fresh noise, then it stops.

And a checkpoint from which a run crashes again and again is left for the one before.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from biggan_scale.config import load_config
from biggan_scale.config.errors import DoNotRequeue
from biggan_scale.engine import checkpoint
from biggan_scale.engine.loop import Engine
from biggan_scale.engine.train import train
from biggan_scale.games.base import Batch, Clock
from support.command import finish, manifests, rounds_logged, state_of
from support.command import train as start
from support.tiny import assert_same, made_up_batch, play, tiny_config

CPU = torch.device("cpu")
PAGE = ("tiny", "until=20 rounds", "checkpoint.every=5 rounds", "log.every=1 rounds", "log.tensorboard=false", "snapshot.every=1 Mimg")
ROUND = 2 * 16  # images


def poisoned(batches: Sequence[Sequence[Batch]]) -> list[list[Batch]]:
    return [[dataclasses.replace(batch, images=batch.images * math.nan) for batch in micro] for micro in batches]


def test_a_run_that_met_a_nan_batch_is_the_run_that_never_saw_it() -> None:
    config = tiny_config("game.d_steps=1")
    met, spared = Engine(config, CPU), Engine(config, CPU)
    for engine in (met, spared):
        play(engine, 2)
    batch = made_up_batch(config, 16, 24, torch.float64)
    assert met.round(poisoned([[batch]])) == {}
    spared.clock = Clock(24, 3)
    for engine in (met, spared):
        play(engine, 2)
    assert_same(met.state_dict(), spared.state_dict())
    assert all(tensor.isfinite().all() for tensor in met.state_dict().ema.values())


def test_fresh_noise_is_other_noise_and_is_kept_over_a_resume() -> None:
    config = tiny_config()
    first, second, third = Engine(config, CPU), Engine(config, CPU), Engine(config, CPU)
    first.renew_noise(1)
    second.load_state_dict(first.state_dict().copied())
    for engine in (first, second, third):
        play(engine, 1)
    assert_same(first.state_dict(), second.state_dict())
    changed = [name for name, tensor in third.state_dict().model.items() if not torch.equal(tensor, first.state_dict().model[name])]
    assert changed and first.state_dict().state["rollbacks"] == 1


def test_loss_scale_that_cannot_be_lowered_is_no_excuse() -> None:
    engine = Engine(tiny_config("precision=fp16", "game.d_steps=1"), CPU)
    for scaler in engine.precision._scalers.values():
        scaler.load_state_dict({**scaler.state_dict(), "scale": 1.0})
    with torch.no_grad():
        next(engine.game.D.parameters()).fill_(math.inf)
    play(engine, 1)
    assert engine.bad_rounds == 1


def test_divergence_rolls_back_twice_and_then_gives_up(tmp_path: Path) -> None:
    spike = "optim.D.lr={from: 2e-4, to: 1e38, end: 12 rounds, shape: step}"
    code, stderr = finish(start(*PAGE, f"run_dir={tmp_path}", spike, "max_bad_rounds=2"))
    assert code == 93, stderr
    for number in (1, 2):
        assert f"rolled back to 000000000.320-kimg with fresh noise ({number} of 2)" in stderr
    assert "given up after 2 roll-backs (max_rollbacks)" in stderr.splitlines()[-1]
    assert state_of(tmp_path)["requeue"] is False
    assert rounds_logged(tmp_path) == sorted(set(rounds_logged(tmp_path)))


def test_a_run_that_recovers_after_a_roll_back_completes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play_round = Engine.round

    def poisoned_until_rolled_back(engine: Engine, batches: Sequence[Sequence[Batch]]) -> dict[str, Tensor]:
        bad = engine.clock.round >= 12 and not engine.rollbacks
        return play_round(engine, poisoned(batches) if bad else batches)

    monkeypatch.setattr(Engine, "round", poisoned_until_rolled_back)
    assert train(load_config(PAGE[0], [*PAGE[1:], f"run_dir={tmp_path}", "max_bad_rounds=4"])) == 0
    newest = checkpoint.checkpoints(tmp_path / "checkpoints")[0]
    state = checkpoint.load(newest).state
    assert (state["nimg"], state["rollbacks"], state["bad_rounds"]) == (20 * ROUND, 1, 0)
    assert [path.name for path in (tmp_path / "checkpoints").glob("BAD_*")] == ["BAD_000000000.480-kimg"]  # round 15, in the bad stretch
    assert manifests(tmp_path)[15 * ROUND]["healthy"]  # and the same moment again, after the roll-back
    assert rounds_logged(tmp_path) == list(range(1, 21))


def test_a_checkpoint_that_crashes_twice_is_left_for_the_one_before_and_three_failures_are_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_round = Engine.round

    def crashing(engine: Engine, batches: Sequence[Sequence[Batch]]) -> dict[str, Tensor]:
        if engine.clock.round == 12:
            raise ZeroDivisionError("round 12")
        return play_round(engine, batches)

    monkeypatch.setattr(Engine, "round", crashing)
    loaded = load_config(PAGE[0], [*PAGE[1:], f"run_dir={tmp_path}"])
    for _ in range(4):
        with pytest.raises(ZeroDivisionError):
            train(loaded)
    with pytest.raises(DoNotRequeue, match="3 starts without progress"):
        train(loaded)
    attempts = [json.loads(line) for line in (tmp_path / "attempts.jsonl").read_text().splitlines()]
    starts = [attempt["nimg"] // ROUND for attempt in attempts if attempt["event"] == "start"]
    assert starts == [0, 10, 10, 5]  # the second got further than the first; the fourth did not
    assert [path.name for path in (tmp_path / "checkpoints").glob("BAD_*")] == ["BAD_000000000.320-kimg"]
    monkeypatch.undo()
    (tmp_path / "attempts.jsonl").unlink()
    assert train(loaded) == 0
    assert json.loads((tmp_path / "state.json").read_text())["state"] == "complete"
