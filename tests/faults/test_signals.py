"""A signal at any moment, to any rank, alone or under torchrun: a valid checkpoint, the right exit, nobody left behind.

Under Slurm: tests/cluster. While evaluating and sampling: tests/evaluation.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from biggan_scale.engine import checkpoint
from faults.forked import Attempt
from faults.toys import IMAGES, page
from support.command import alive, finish, kill, manifests, rounds_logged, start, state_of, train, wait_until

FEW = ("until=12 rounds",)
SIGNALS = [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT]
MOMENTS = {"round": "hold at round 5", "save": "hold at fsync 9"}  # in the second save: that of round 4
by_name = pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
at_moments = pytest.mark.parametrize("moment", MOMENTS)
REACTION_S = 5
SLACK_S = 30  # for machines that have much else to do
HEAR_ALL = ("--signals-to-handle", "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR2")  # torchrun would die of SIGUSR2, and leave its workers


def saved_in_good_order(run_dir: Path, number: signal.Signals, at_least: int) -> None:
    verdict = state_of(run_dir)
    assert (verdict["state"], verdict["requeue"], verdict["exit_code"]) == ("preempted", True, 75)
    assert verdict["reason"].startswith(f"{number.name}: saved at ")
    assert verdict["nimg"] >= at_least * IMAGES
    newest = checkpoint.checkpoints(run_dir / "checkpoints")[0]
    assert checkpoint.problem_of(newest) is None and checkpoint.manifest_of(newest)["nimg"] == verdict["nimg"]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


@by_name
@at_moments
@pytest.mark.parametrize(("ranks", "told"), [(1, 0), (2, 0), (2, 1)], ids=["alone", "to rank 0 of 2", "to rank 1 of 2"])
def test_a_signal_to_one_process_stops_all(
    images: Path, tmp_path: Path, number: signal.Signals, moment: str, ranks: int, told: int
) -> None:
    arguments, held = page(tmp_path / "run", images), tmp_path / "held"
    attempt = Attempt(*arguments, *FEW, ranks=ranks, faults=f"{MOMENTS[moment]} on rank 0", hold=held)
    until(held.exists)
    attempt.signal(number, told)
    held.unlink()
    began = time.monotonic()
    assert set(attempt.wait()) == {75}, attempt.said()
    assert time.monotonic() - began < REACTION_S + SLACK_S
    saved_in_good_order(tmp_path / "run", number, 6 if moment == "round" else 4)
    assert Attempt(*arguments, *FEW, ranks=ranks).wait() == [0] * ranks
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
def test_a_signal_while_a_run_compiles_ends_it_with_the_compilation(images: Path, tmp_path: Path, to_all: bool) -> None:
    run_dir, cache = tmp_path / "run", tmp_path / "inductor"
    arguments = page(run_dir, images)
    config = Path(arguments[0])
    config.write_text(config.read_text().replace("type: gan", "type: r3gan\n  compile_penalties: true"))
    process = train(*arguments, *FEW, TORCHINDUCTOR_CACHE_DIR=str(cache))
    wait_until(lambda: (run_dir / "attempts.jsonl").exists() and alive("g++", cache, ".main.cpp"), process)
    if to_all:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    else:
        process.send_signal(signal.SIGINT)
    code, stderr = finish(process)
    assert code == 75 and "Traceback" not in stderr, stderr
    assert state_of(run_dir)["reason"].startswith("SIGINT: left round 0 unfinished, nothing was saved before;")
    assert manifests(run_dir) == {} and rounds_logged(run_dir) == []
    until(lambda: not alive(cache))


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
def test_a_signal_to_torchrun_saves_and_leaves_nobody_behind(images: Path, tmp_path: Path, number: signal.Signals, moment: str) -> None:
    run_dir, held = tmp_path / "run", tmp_path / "held"
    faults = f"{MOMENTS[moment]} on rank 0"
    agent = start("train", *page(run_dir, images), *FEW, ranks=2, torchrun=HEAR_ALL, faults=faults, BIGGAN_SCALE_TEST_HOLD=str(held))
    try:
        wait_until(held.exists, agent)
        agent.send_signal(number)
        time.sleep(0.5)  # to be passed on
        held.unlink()
        began = time.monotonic()
        finish(agent)
        assert time.monotonic() - began < REACTION_S + SLACK_S
        saved_in_good_order(run_dir, number, 6 if moment == "round" else 4)
        until(lambda: not alive(run_dir))
    finally:
        if agent.poll() is None:
            kill(agent)


@pytest.mark.slow  # three processes from nothing
def test_workers_end_with_a_torchrun_that_dies_of_a_signal(images: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    agent = train(*page(run_dir, images), "until=100000 rounds", ranks=2)
    wait_until(lambda: (run_dir / "metrics.jsonl").exists(), agent)
    assert len(alive(run_dir)) == 3
    agent.send_signal(signal.SIGUSR2)  # without HEAR_ALL
    code, _ = finish(agent)
    assert code == -signal.SIGUSR2
    began = time.monotonic()
    until(lambda: not alive(run_dir))
    assert time.monotonic() - began < REACTION_S + SLACK_S
