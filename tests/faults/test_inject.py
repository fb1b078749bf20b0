"""Faults are ordered in a line, and a slip in it is no fault that never comes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from faults.forked import Attempt
from faults.inject import Fault, parse
from faults.toys import page

FEW = ("until=12 rounds", "log.tensorboard=true")


def test_faults_are_written_as_a_line() -> None:
    assert parse("kill at round 7 on rank 1; EIO at fsync 3") == [Fault("kill", "round", 7, 1), Fault("EIO", "fsync", 3, None)]


@pytest.mark.parametrize("text", ["kil at round 7", "kill at fsink 7", "nan at fsync 7", "kill at round", "kill at round 7 of rank 1"])
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(AssertionError, match=r"no such|not a fault"):
        parse(text)


def test_every_round_is_logged_once_whatever_was_logged_before_a_crash(images: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    for faults, code in (("crash at round 7", 1), ("crash at round 10", 1), ("", 0)):  # after checkpoints of rounds 6 and 10, 8
        assert Attempt(*page(run_dir, images), *FEW, faults=faults).wait() == [code]
    events = EventAccumulator(str(run_dir))
    events.Reload()
    moments = [16 * number for number in range(1, 13)]
    assert [event.step for event in events.Scalars("D/loss")] == moments
    assert [json.loads(line)["nimg"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()] == moments
