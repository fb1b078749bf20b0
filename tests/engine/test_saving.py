"""Checkpoints that are written while training goes on: copied at once, one at a time, and no error is lost."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from biggan_scale.config.errors import EnvironmentFault
from biggan_scale.engine import checkpoint
from biggan_scale.engine.checkpoint import TrainingState
from biggan_scale.engine.saving import Saver


def state(nimg: int) -> TrainingState:
    weight = torch.full((4, 4), float(nimg))
    return TrainingState({"w": weight}, {"w": weight / 2}, {"G/w/exp_avg": weight * 3}, {"nimg": nimg, "round": nimg, "scales": {"G": 1.0}})


class Gate:
    """Holds back the rename that publishes a checkpoint until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened, self.reached = threading.Event(), threading.Event()
        rename = os.rename

        def held(source: Any, target: Any) -> None:
            self.reached.set()
            assert self.opened.wait(60)
            rename(source, target)

        monkeypatch.setattr(os, "rename", held)


@pytest.fixture
def saver(tmp_path: Path) -> Saver:
    return Saver(tmp_path, keep=2, say=lambda line: None)


def test_what_is_saved_is_the_state_at_the_call_whatever_happens_to_it_after(
    saver: Saver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, live = Gate(monkeypatch), state(10)
    saver.save(live, {})
    for tensors in (live.model, live.ema, live.optim):
        for tensor in tensors.values():
            tensor.zero_()
    live.state["scales"]["G"] = 0.0
    assert gate.reached.wait(60) and not checkpoint.checkpoints(tmp_path)  # the call has returned, and nothing is published
    gate.opened.set()
    saver.wait()
    loaded, expected = checkpoint.load(checkpoint.checkpoints(tmp_path)[0]), state(10)
    for part in ("model", "ema", "optim"):
        for name, tensor in getattr(expected, part).items():
            assert torch.equal(getattr(loaded, part)[name], tensor)
    assert loaded.state == expected.state


def test_the_next_save_waits_for_the_one_on_its_way(saver: Saver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    saver.save(state(10), {})
    assert gate.reached.wait(60)
    second = threading.Thread(target=saver.save, args=(state(20), {}))
    second.start()
    second.join(0.2)
    assert second.is_alive()
    gate.opened.set()
    second.join(60)
    saver.wait()
    assert [checkpoint.manifest_of(path)["nimg"] for path in checkpoint.checkpoints(tmp_path)] == [20, 10]


@pytest.mark.parametrize("ask", [Saver.wait, lambda saver: saver.save(state(30), {})], ids=["wait", "next save"])
def test_an_error_is_raised_by_whoever_asks_next_and_once(
    saver: Saver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Saver], None]
) -> None:
    saver.save(state(10), {})
    saver.wait()
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        saver.save(state(20), {})
        saver.close()
    with pytest.raises(EnvironmentFault, match="Input/output error; the checkpoints are intact"):
        ask(saver)
    saver.check()
    saver.save(state(30), {})
    saver.wait()
    assert [checkpoint.manifest_of(path)["nimg"] for path in checkpoint.checkpoints(tmp_path)] == [30, 10]


def test_retention_follows_each_save(saver: Saver, tmp_path: Path) -> None:
    for nimg in (10, 20, 30):
        saver.save(state(nimg), {})
    saver.wait()
    assert [checkpoint.manifest_of(path)["nimg"] for path in checkpoint.checkpoints(tmp_path)] == [30, 20]
