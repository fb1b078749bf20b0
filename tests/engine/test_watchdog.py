"""Ranks that hang are named and every live rank leaves its stacks; ranks that are slow are named with their ratio."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from biggan_scale.dist import process_group, waiting
from biggan_scale.engine.stragglers import Stragglers
from support.command import ROOT, finish, rounds_logged, state_of, train, wait_until
from support.ranks import free_port, run_ranks

SETTINGS = ("tiny", "until=5000 rounds", "log.every=1 rounds", "log.tensorboard=false", "snapshot.every=1 Mimg", "watchdog.limit=5 s")
LIMIT_S, SLACK_S = 5, 30  # the slack is for machines that have much else to do

ALONE = """
import sys, time
from pathlib import Path
import torch
from biggan_scale.dist.process_group import Ranks
from biggan_scale.engine.watchdog import Watchdog

def stuck_here():
    while True:
        time.sleep(1)

def verdict(line):
    print("verdict:", line, flush=True)

with Watchdog(2.0, Ranks(0, 1, 0, torch.device("cpu")), Path(sys.argv[1]), verdict) as watchdog:
    for _ in range(8):  # longer than the limit in all, and never silent for so long
        watchdog.at("getting on")
        time.sleep(0.3)
    watchdog.at("round 7, move G")
    stuck_here()
"""


def test_a_process_that_hangs_says_where_and_leaves_its_stacks(tmp_path: Path) -> None:
    process = subprocess.run([sys.executable, "-c", ALONE, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert process.returncode == 1
    assert "verdict: no progress for 2 s: this rank is in round 7, move G; stacks in" in process.stdout
    assert "stuck_here" in (tmp_path / "rank-0.txt").read_text()


@pytest.mark.parametrize("stopped", [0, 1])  # rank 0 keeps the store by which ranks hear of each other
def test_a_stopped_rank_is_named_by_the_other_which_leaves_with_its_stacks(tmp_path: Path, stopped: int) -> None:
    with two_ranks(tmp_path) as ranks:
        ranks[stopped].send_signal(signal.SIGSTOP)
        began = time.monotonic()
        code, stderr = finish(ranks[1 - stopped])
        assert time.monotonic() - began < LIMIT_S + SLACK_S
    assert code == 1
    assert f"rank {1 - stopped}: no progress for {LIMIT_S} s: no sign of life from rank {stopped}" in stderr
    assert "train.py" in (tmp_path / "stacks" / f"rank-{1 - stopped}.txt").read_text()
    if stopped == 1:
        assert state_of(tmp_path)["requeue"] and "rank 1" in state_of(tmp_path)["reason"]


def test_a_rank_that_dies_is_named(tmp_path: Path) -> None:
    with two_ranks(tmp_path) as ranks:
        ranks[1].kill()
        code, stderr = finish(ranks[0])
    assert code == 1
    assert "rank 0: rank 1 lost in round" in stderr
    assert state_of(tmp_path)["requeue"] and "rank 1 lost" in state_of(tmp_path)["reason"]


@contextmanager
def two_ranks(run_dir: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Two ranks of one run, on their way; killed at the end."""
    port = str(free_port())
    ranks = [
        train(*SETTINGS, f"run_dir={run_dir}", RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port) for rank in (0, 1)
    ]
    try:
        wait_until(lambda: len(rounds_logged(run_dir)) >= 3, ranks[0])
        yield ranks
    finally:
        for process in ranks:
            process.kill()
            process.communicate()


def test_a_slow_rank_is_named_with_its_ratio_once() -> None:
    lines = run_ranks(2, _rounds_with_a_slow_rank)
    for rank in (0, 1):
        (first, line), (second, again) = lines[rank]
        assert line.startswith("rank 1 is slow: ") and "the median rank's" in line
        assert first >= 1.5 and second >= 1.5
        assert again == ""


def _rounds_with_a_slow_rank() -> list[tuple[float, str]]:
    stragglers, found = Stragglers(1.5), []
    for _ in range(2):
        for _ in range(3):
            time.sleep(0.6 if process_group.rank() == 1 else 0.1)
            process_group.agree_max([1])
        found.append(stragglers.since_last(3))
    return found


def test_what_is_spent_in_a_collective_is_waiting() -> None:
    waited = run_ranks(2, _wait_for_the_other)
    assert waited[0] > 0.4 > waited[1]


def _wait_for_the_other() -> float:
    process_group.agree_max([0])
    before = waiting.seconds()
    time.sleep(0.5 if process_group.rank() == 1 else 0.0)
    process_group.agree_max([1])
    return waiting.seconds() - before
