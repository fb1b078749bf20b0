"""After an attempt: is the run done, over, or to be started again? A pure function of what is known.

Slurm's word comes first: of a job that it is ending itself (scancel, `scontrol requeue`, a dead node) nothing is requeued from here, or a
cancelled job would rise again. Then the training's word, from state.json. Then the exit code.

Whatever is bad luck (a dead peer, a lost node, an exception) is tried again, but three failures without a new checkpoint between them are
not luck. Orderly stops (preemption, time limit) may come in any number as long as there is progress, and ten times without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from signal import SIGTERM, SIGUSR2
from typing import Any, Literal

FAILURES = 3  # in a row without progress
STOPS = 10
DO_NOT_REQUEUE = 93
REQUEUE = 75
HOPELESS = (2, 3, 4, DO_NOT_REQUEUE)  # exit codes of `biggan-scale train` that another start would only repeat
KILLED_BEFORE_LISTENING = (128 + SIGTERM, 128 + SIGUSR2)  # stopped while still loading torch


@dataclass(frozen=True)
class Ending:
    """What is known when the training processes have ended."""

    exit_code: int  # of srun
    verdict: Mapping[str, Any]  # state.json as this attempt left it; empty if it wrote none
    job_state: str  # Slurm's, now: RUNNING unless somebody ends the job
    requeued: bool  # and starts it again
    stop_asked: bool  # by `biggan-launch stop`
    checkpoint: str  # the newest


@dataclass(frozen=True)
class Decision:
    """action: requeue; follow by another job; finish, with `exit_code`; or leave it to Slurm, which is ending the job."""

    action: Literal["finish", "requeue", "follow", "leave"]
    kind: Literal["complete", "stopped", "failed"]
    reason: str
    exit_code: int = 0


def decide(ending: Ending, history: Sequence[Mapping[str, Any]]) -> Decision:
    """What to do now. `history`: the events of jobs.jsonl before this end."""
    state, said = ending.verdict.get("state", ""), ending.verdict.get("reason", "")
    if state == "complete":
        return Decision("finish", "complete", "complete")
    stopped = state == "preempted" or (not state and ending.exit_code in KILLED_BEFORE_LISTENING)
    if ending.stop_asked:
        return Decision("finish", "stopped", f"stopped by request; {said}".removesuffix("; "), 0 if stopped else ending.exit_code)
    if ending.job_state != "RUNNING":
        by = "requeued by Slurm" if ending.requeued else f"ended by Slurm or scancel ({ending.job_state})"
        return Decision("leave", "stopped", f"{by}; {said}".removesuffix("; "), REQUEUE)
    code = int(ending.verdict.get("exit_code") or ending.exit_code or 1)
    if state == "failed" and not ending.verdict.get("requeue"):
        return Decision("finish", "failed", said, code)
    if not state and code in HOPELESS:
        return Decision("finish", "failed", f"ended with {code} before training began; the log says why", code)
    if stopped:
        return _again("stopped", said or "stopped while starting", STOPS, history, ending.checkpoint)
    return _again(
        "failed", said if state == "failed" else f"died without a word (srun: {ending.exit_code})", FAILURES, history, ending.checkpoint
    )


def decide_at_limit(history: Sequence[Mapping[str, Any]], checkpoint: str) -> Decision:
    """What to do when the time limit comes before the run has saved. Slurm ends the job for good, so only another can go on."""
    reason = "the time limit came before the run had saved; a longer slurm.warn_s or slurm.time helps"
    decision = _again("failed", reason, FAILURES, history, checkpoint)
    return replace(decision, action="follow") if decision.action == "requeue" else decision


def _again(kind: Literal["stopped", "failed"], reason: str, limit: int, history: Sequence[Mapping[str, Any]], checkpoint: str) -> Decision:
    times = 1 + without_progress(history, kind, checkpoint)
    if times >= limit:
        return Decision("finish", "failed", f"{times} times {kind} without a new checkpoint, so not again; last: {reason}", DO_NOT_REQUEUE)
    return Decision("requeue", kind, reason, REQUEUE)


def without_progress(history: Sequence[Mapping[str, Any]], kind: str, checkpoint: str) -> int:
    """How many of the last attempts ended this way at this checkpoint. A person who asks for more begins the count anew."""
    times = 0
    for event in reversed(history):
        if event["event"] in ("submitted", "asked") or (event["event"] == "end" and event["checkpoint"] != checkpoint):
            break
        times += event["event"] == "end" and event["kind"] == kind
    return times
