"""What a job remembers of itself survives a line that a full disk or a death has torn."""

from __future__ import annotations

from pathlib import Path

from launch import record


def test_a_torn_line_is_passed_over_and_the_next_one_is_whole(tmp_path: Path) -> None:
    (tmp_path / "launch").mkdir()
    record.append(tmp_path, "submitted", job="1")
    with (tmp_path / "launch" / "jobs.jsonl").open("a") as file:
        file.write('{"event": "begin", "jo')
    record.append(tmp_path, "end", job="1")
    assert [event["event"] for event in record.events(tmp_path)] == ["submitted", "end"]
