"""After an attempt: done, over, or once more."""

from __future__ import annotations

from signal import SIGKILL, SIGTERM, SIGUSR2
from typing import Any

import pytest

from launch.decide import Ending, decide, decide_at_limit

PREEMPTED = {"state": "preempted", "reason": "SIGTERM: saved", "requeue": True, "exit_code": 75}
CRASHED = {"state": "failed", "reason": "RuntimeError: boom", "requeue": True, "exit_code": 1}
BAD_DATA = {"state": "failed", "reason": "DataError: shard-3", "requeue": False, "exit_code": 3}


def ending(**facts: Any) -> Ending:
    usual: dict[str, Any] = {"exit_code": 0, "verdict": {}, "job_state": "RUNNING", "requeued": False, "stop_asked": False}
    return Ending(**usual | {"checkpoint": "2-kimg"} | facts)


def end(kind: str, checkpoint: str = "2-kimg") -> dict[str, Any]:
    return {"event": "end", "kind": kind, "checkpoint": checkpoint}


@pytest.mark.parametrize(
    ("facts", "action", "kind", "exit_code"),
    [
        ({"verdict": {"state": "complete"}}, "finish", "complete", 0),
        ({"verdict": {"state": "complete"}, "job_state": "COMPLETING"}, "finish", "complete", 0),
        ({"verdict": PREEMPTED, "exit_code": 75}, "requeue", "stopped", 75),
        ({"verdict": PREEMPTED}, "requeue", "stopped", 75),  # under torchrun
        ({"verdict": PREEMPTED, "stop_asked": True}, "finish", "stopped", 0),
        ({"verdict": PREEMPTED, "job_state": "COMPLETING"}, "leave", "stopped", 75),  # scancel
        ({"verdict": PREEMPTED, "job_state": "COMPLETING", "requeued": True}, "leave", "stopped", 75),
        ({"verdict": CRASHED, "exit_code": 1}, "requeue", "failed", 75),
        ({"verdict": BAD_DATA, "exit_code": 3}, "finish", "failed", 3),
        ({"verdict": BAD_DATA, "exit_code": 1}, "finish", "failed", 3),  # torchrun hides the worker's code
        ({"exit_code": 2}, "finish", "failed", 2),
        ({"exit_code": 5}, "requeue", "failed", 75),  # a port, a lock: may be free next time
        ({"exit_code": 128 + SIGKILL}, "requeue", "failed", 75),
        ({"exit_code": 128 + SIGTERM}, "requeue", "stopped", 75),  # while it still loaded torch
        ({"exit_code": 128 + SIGUSR2}, "requeue", "stopped", 75),
    ],
)
def test_decision(facts: dict[str, Any], action: str, kind: str, exit_code: int) -> None:
    decision = decide(ending(**facts), [])
    assert (decision.action, decision.kind, decision.exit_code) == (action, kind, exit_code)


def test_third_failure_at_one_checkpoint_is_the_last() -> None:
    crash = ending(verdict=CRASHED, exit_code=1)
    assert decide(crash, [end("failed")]).action == "requeue"
    last = decide(crash, [end("failed"), end("stopped"), end("failed")])
    assert (last.action, last.exit_code) == ("finish", 93)
    assert "boom" in last.reason


@pytest.mark.parametrize("between", [end("failed", "1-kimg"), {"event": "asked"}, {"event": "submitted"}])
def test_progress_or_a_person_begins_the_count_anew(between: dict[str, Any]) -> None:
    history = [end("failed"), end("failed"), between, end("failed")]
    assert decide(ending(verdict=CRASHED, exit_code=1), history).action == "requeue"


def test_time_limit_before_a_save_is_a_failure_that_another_job_goes_on_after() -> None:
    first = decide_at_limit([], "2-kimg")
    assert (first.action, first.kind, first.exit_code) == ("follow", "failed", 75)
    assert decide_at_limit([end("failed", "1-kimg"), end("failed"), end("failed")], "3-kimg").action == "follow"
    last = decide_at_limit([end("failed"), end("failed")], "2-kimg")
    assert (last.action, last.exit_code) == ("finish", 93)


def test_preemptions_are_endured_for_longer_but_not_for_ever() -> None:
    preempted = ending(verdict=PREEMPTED)
    assert decide(preempted, [end("stopped")] * 8).action == "requeue"
    assert decide(preempted, [end("stopped")] * 9).exit_code == 93
    assert decide(preempted, [end("stopped", f"{n}-kimg") for n in range(1000)]).action == "requeue"
