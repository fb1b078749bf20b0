"""A signal at any moment, to any rank, alone or under torchrun: a valid checkpoint, the right exit, nobody left behind.

Under Slurm: tests/cluster. While evaluating and sampling: tests/evaluation.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from biggan_scale.engine import checkpoint
from faults import reactions
from faults.forked import Attempt
from faults.reactions import FEW, MOMENTS, SIGNALS, TOLD, Reaction, until
from faults.toys import IMAGES, page
from support.command import alive, finish, manifests, rounds_logged, state_of, train, wait_until

by_name = pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
at_moments = pytest.mark.parametrize("moment", MOMENTS)
REACTION_S = 5
SLACK_S = 30  # for machines that have much else to do; what it was is a property of the test in a JUnit report


@pytest.fixture
def in_time(record_property: Callable[[str, object], None]) -> Callable[[Reaction, float], None]:
    """Asserts that a reaction was, and has it reported."""

    def judge(reaction: Reaction, limit_s: float = REACTION_S) -> None:
        record_property("reaction_s", round(reaction.seconds, 2))
        assert reaction.seconds < limit_s + SLACK_S

    return judge


def saved_in_good_order(run_dir: Path, number: signal.Signals, at_least: int) -> None:
    verdict = state_of(run_dir)
    assert (verdict["state"], verdict["requeue"], verdict["exit_code"]) == ("preempted", True, 75)
    assert verdict["reason"].startswith(f"{number.name}: saved at ")
    assert verdict["nimg"] >= at_least * IMAGES
    newest = checkpoint.checkpoints(run_dir / "checkpoints")[0]
    assert checkpoint.problem_of(newest) is None and checkpoint.manifest_of(newest)["nimg"] == verdict["nimg"]


@by_name
@at_moments
@pytest.mark.parametrize(("ranks", "told"), TOLD.values(), ids=TOLD.keys())
def test_a_signal_to_one_process_stops_all(
    images: Path, tmp_path: Path, in_time: Callable[..., None], number: signal.Signals, moment: str, ranks: int, told: int
) -> None:
    reaction = reactions.of_a_run(images, tmp_path, number, moment, ranks, told)
    assert set(reaction.codes) == {75}, reaction.said
    in_time(reaction)
    saved_in_good_order(tmp_path / "run", number, 6 if moment == "round" else 4)
    assert Attempt(*page(tmp_path / "run", images), *FEW, ranks=ranks).wait() == [0] * ranks
    assert state_of(tmp_path / "run")["state"] == "complete"


@by_name
@pytest.mark.parametrize(("begun", "ranks"), [(False, 1), (True, 1), (True, 2)], ids=["new", "resumed", "two ranks resumed"])
def test_a_signal_in_the_first_round_of_a_start_does_not_wait_for_its_end(
    images: Path, tmp_path: Path, number: signal.Signals, begun: bool, ranks: int
) -> None:
    """It may compile for minutes, and nothing is lost with it."""
    arguments, held = page(tmp_path / "run", images), tmp_path / "held"
    if begun:
        assert Attempt(*arguments, "until=4 rounds").wait() == [0]
    before = manifests(tmp_path / "run")
    attempt = Attempt(*arguments, *FEW, ranks=ranks, faults=f"hold at move 1 on rank {ranks - 1}", hold=held)
    until(held.exists)
    attempt.signal(number, ranks - 1)
    held.unlink()
    assert set(attempt.wait()) == {75}, attempt.said()
    verdict = state_of(tmp_path / "run")
    where = "left round 4 unfinished, saved before at 0.064 kimg" if begun else "left round 0 unfinished, nothing was saved before"
    assert verdict["reason"] == f"{number.name}: {where}; run the same command again to go on"
    assert (verdict["state"], verdict["requeue"], verdict["exit_code"], verdict["nimg"]) == ("preempted", True, 75, 64 if begun else 0)
    assert manifests(tmp_path / "run") == before
    assert Attempt(*arguments, *FEW).wait() == [0]
    assert rounds_logged(tmp_path / "run") == list(range(1, 13))


@pytest.mark.slow  # a C++ compiler at work, twice
@pytest.mark.timeout(900)
@pytest.mark.parametrize("to_all", [False, True], ids=["to the run", "to its compiler, too"])
def test_a_signal_while_a_run_compiles_ends_it_with_the_compilation(
    images: Path, tmp_path: Path, record_property: Callable[[str, object], None], to_all: bool
) -> None:
    reaction = reactions.of_a_compilation(images, tmp_path, signal.SIGINT, to_all=to_all)
    record_property("reaction_s", round(reaction.seconds, 2))
    assert reaction.codes == (75,) and "Traceback" not in reaction.said, reaction.said
    assert state_of(tmp_path / "run")["reason"].startswith("SIGINT: left round 0 unfinished, nothing was saved before;")
    assert manifests(tmp_path / "run") == {} and rounds_logged(tmp_path / "run") == []


@pytest.mark.parametrize("number", [15, 12], ids=["TERM", "USR2"])
def test_a_signal_before_the_run_listens_ends_it_and_harms_nothing(images: Path, tmp_path: Path, number: int) -> None:
    arguments = page(tmp_path / "run", images)
    assert Attempt(*arguments, "until=4 rounds").wait() == [0]
    attempt = Attempt(*arguments, *FEW)
    attempt.signal(number, 0)
    assert attempt.wait()[0] in (-number, 75)
    assert Attempt(*arguments, *FEW).wait() == [0]


@pytest.mark.slow  # three processes each, from nothing
@by_name
@at_moments
def test_a_signal_to_torchrun_saves_and_leaves_nobody_behind(
    images: Path, tmp_path: Path, in_time: Callable[..., None], number: signal.Signals, moment: str
) -> None:
    in_time(reactions.of_torchrun(images, tmp_path, number, moment))
    saved_in_good_order(tmp_path / "run", number, 6 if moment == "round" else 4)


@pytest.mark.parametrize("stopped", [0, 1])
def test_the_others_leave_at_the_limit_when_one_is_stopped(
    images: Path, tmp_path: Path, in_time: Callable[..., None], stopped: int
) -> None:
    reaction = reactions.of_the_others(images, tmp_path, stopped)
    assert reaction.codes[1 - stopped] == 1 and f"no sign of life from rank {stopped}" in reaction.said, reaction.said
    in_time(reaction, reactions.LIMIT_S + REACTION_S)


@pytest.mark.slow  # three processes from nothing
def test_workers_end_with_a_torchrun_that_dies_of_a_signal(images: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    agent = train(*page(run_dir, images), "until=100000 rounds", ranks=2)
    wait_until(lambda: (run_dir / "metrics.jsonl").exists(), agent)
    assert len(alive(run_dir)) == 3
    agent.send_signal(signal.SIGUSR2)  # without --signals-to-handle
    code, _ = finish(agent)
    assert code == -signal.SIGUSR2
    began = time.monotonic()
    until(lambda: not alive(run_dir))
    assert time.monotonic() - began < REACTION_S + SLACK_S
