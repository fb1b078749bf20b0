"""What a run directory remembers of earlier starts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from biggan_scale.engine.run_dir import RunDir


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[RunDir]:
    made = RunDir(tmp_path)
    yield made
    made.close()


def start(run_dir: RunDir, nimg: int, state: str = "", exit_code: int = 1) -> None:
    """A start that ended so, or was killed."""
    run_dir.append_attempt(event="start", nimg=nimg)
    if state:
        run_dir.append_attempt(event="end", nimg=nimg + 7, state=state, exit_code=exit_code)


def test_failures_since_the_last_progress_are_counted(run_dir: RunDir) -> None:
    for nimg in (0, 0, 640, 640):
        start(run_dir, nimg, "failed")
    assert run_dir.failed_starts(640) == 2
    assert run_dir.failed_starts(1280) == 0


def test_neither_preemption_nor_a_kill_nor_a_mistake_of_the_user_is_a_failure(run_dir: RunDir) -> None:
    start(run_dir, 640, "preempted", exit_code=75)
    start(run_dir, 640)
    start(run_dir, 640, "failed", exit_code=2)
    assert run_dir.failed_starts(640) == 0
    start(run_dir, 640, "failed")
    assert run_dir.failed_starts(640) == 1


def test_a_person_who_asks_begins_the_count_anew(run_dir: RunDir) -> None:
    start(run_dir, 640, "failed")
    run_dir.append_attempt(event="asked")
    start(run_dir, 640, "failed")
    assert run_dir.failed_starts(640) == 1


def test_a_line_that_was_torn_is_passed_over_and_the_next_one_is_whole(run_dir: RunDir) -> None:
    start(run_dir, 640, "failed")
    with (run_dir.path / "attempts.jsonl").open("a") as file:
        file.write('{"event": "end", "sta')
    start(run_dir, 640, "failed")
    assert run_dir.failed_starts(640) == 2


def test_state_names_the_start_of_the_job(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    for restarts, named in ((None, "12.0"), ("3", "12.3")):  # Slurm does not set the count at the first start
        if restarts:
            monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
        run_dir.set_state("failed", nimg=640, exit_code=3)
        assert json.loads((run_dir.path / "state.json").read_text())["job"] == named
    assert run_dir.last_nimg() == 640
