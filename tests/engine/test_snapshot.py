"""A signal that comes while samples are drawn does not wait for them, and the state knows nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from biggan_scale.config import load_config
from biggan_scale.config.errors import Preempted
from biggan_scale.engine.signals import StopFlag
from biggan_scale.engine.train import train
from support.command import manifests

PAGE = ("until=4 rounds", "snapshot.every=1 rounds", "ema.standing_batches=2", "log.tensorboard=false")


def test_drawing_is_broken_off_between_batches_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def third_is_a_signal(stop: StopFlag) -> None:
        asked.append(stop)
        if len(asked) % 3 == 0:  # after the two batches of standing statistics, before the sheet's first chunk
            raise Preempted("a signal")

    train(load_config("tiny", [*PAGE, f"run_dir={tmp_path / 'whole'}"]))
    monkeypatch.setattr(StopFlag, "check_here", third_is_a_signal)
    train(load_config("tiny", [*PAGE, f"run_dir={tmp_path / 'broken off'}"]))
    whole, broken_off = (manifests(tmp_path / name) for name in ("whole", "broken off"))
    end = max(whole)
    assert broken_off[end]["state_sha256"] == whole[end]["state_sha256"]
    assert len(list((tmp_path / "whole" / "samples").glob("*.png"))) == 4
    assert not list((tmp_path / "broken off" / "samples").glob("*.png"))
    assert "the sheet of samples of this moment is left out" in (tmp_path / "broken off" / "log.txt").read_text()
