"""What `status` reads off a run directory, also one whose process has died or is writing at this moment."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from biggan_scale.cli import main

HERE = {"host": socket.gethostname(), "pid": os.getpid()}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run that is under way in this process, in its second attempt."""
    set_state(tmp_path, state="running", **HERE)
    (tmp_path / "metrics.jsonl").write_text(
        '{"nimg": 1280, "D/loss": 1.5, "img_per_s": 40.0}\n{"nimg": 2560, "D/loss": 1.2, "img_per_s": 42.5}\n'
    )
    attempts = [{"event": "start", "nimg": 0}, {"event": "end", "nimg": 640}, {"event": "start", "nimg": 640}]
    (tmp_path / "attempts.jsonl").write_text("".join(json.dumps(attempt) + "\n" for attempt in attempts))
    for nimg in (1280, 2560):
        folder = tmp_path / "checkpoints" / f"{nimg / 1000:013.3f}-kimg"
        folder.mkdir(parents=True)
        (folder / "MANIFEST.json").write_text(json.dumps({"nimg": nimg}))
    return tmp_path


def set_state(run_dir: Path, **facts: Any) -> None:
    (run_dir / "state.json").write_text(json.dumps({"nimg": 2560, "reason": "", "requeue": False, **facts}))


def status(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["status", str(run_dir), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def gone() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_running(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = status(run_dir, capsys)
    checkpoint = found.pop("checkpoint")
    assert found == {
        "run_dir": str(run_dir),
        "state": "running",
        "reason": "",
        "requeue": False,
        "nimg": 2560,
        "img_per_s": 42.5,
        "restarts": 1,
        "health": "ok",
    }
    assert checkpoint["path"] == str(run_dir / "checkpoints" / "000000002.560-kimg")
    assert checkpoint["nimg"] == 2560
    assert 0 <= checkpoint["age_s"] < 300


def test_run_whose_process_is_gone_has_failed(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pid = gone()
    set_state(run_dir, state="running", **{**HERE, "pid": pid})
    found = status(run_dir, capsys)
    assert (found["state"], found["requeue"]) == ("failed", True)
    assert found["reason"] == f"process {pid} on {HERE['host']} died without a word; run the same command again to resume"


def test_of_a_process_on_another_machine_its_word_is_taken(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_state(run_dir, state="running", pid=gone(), host="elsewhere")
    assert status(run_dir, capsys)["state"] == "running"


def test_verdict_is_handed_on(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_state(run_dir, state="preempted", reason="SIGTERM: saved", requeue=True, pid=gone(), host=HERE["host"])
    found = status(run_dir, capsys)
    assert (found["state"], found["reason"], found["requeue"]) == ("preempted", "SIGTERM: saved", True)


def test_run_that_has_only_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_state(tmp_path, state="running", **HERE)
    found = status(tmp_path, capsys)
    assert (found["img_per_s"], found["checkpoint"], found["restarts"], found["health"]) == (None, None, 0, "unknown")


def test_half_written_lines_and_checkpoints_are_passed_over(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"nimg": 38')
    (run_dir / "checkpoints" / "000000003.840-kimg").mkdir()
    (run_dir / "checkpoints" / ".tmp_000000003.840-kimg").mkdir()
    found = status(run_dir, capsys)
    assert found["img_per_s"] == 42.5
    assert found["checkpoint"]["nimg"] == 2560


def test_value_that_was_not_finite_shows_in_the_health(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_dir / "metrics.jsonl").write_text('{"nimg": 1, "D/loss": null, "G/loss": 1.0, "img_per_s": 1.0}\n')
    assert status(run_dir, capsys)["health"] == "D/loss is not finite"


def test_alarms_of_the_watch_are_told_in_words_and_as_they_are(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alarms = [
        {"name": "collapse", "means": "images are alike", "advice": "go back", "confirmed": True, "value": 0.1, "limit": 0.3},
        {"name": "won", "means": "D errs nowhere", "advice": "weaken D", "confirmed": False, "value": 0.01, "limit": 0.1},
    ]
    (run_dir / "health.json").write_text(json.dumps({"healthy": False, "alarms": alarms}))
    found = status(run_dir, capsys)
    assert found["alarms"] == alarms
    assert found["health"] == "collapse: images are alike; go back, won (suspected): D errs nowhere; weaken D"


def test_watch_without_alarms_is_ok(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_dir / "health.json").write_text(json.dumps({"healthy": True, "alarms": []}))
    found = status(run_dir, capsys)
    assert (found["health"], found["alarms"]) == ("ok", [])


def test_people_get_lines(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(run_dir)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(run_dir)
    assert lines[1:4] == ["  state       running", "  images      2,560", "  speed       42.5 img/s"]


@pytest.mark.parametrize("content", [None, "", "{", "[]"], ids=["nothing", "empty", "half", "list"])
def test_what_is_no_run_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None) -> None:
    if content is not None:
        (tmp_path / "state.json").write_text(content)
    assert main(["status", str(tmp_path)]) == 2
    assert capsys.readouterr() == ("", f"biggan-scale status: {tmp_path} is not a run directory: it has no readable state.json\n")


def test_a_dead_owner_that_nobody_has_buried_is_not_running(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and left unburied
    set_state(run_dir, state="running", host=HERE["host"], pid=child.pid)
    assert status(run_dir, capsys)["state"] == "failed"
    child.wait()
