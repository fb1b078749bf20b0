"""The command as a process: what it prints, on one rank and on two, and how it ends when it is told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evaluation.conftest import Subject
from support.command import alive, finish, free_port, kill, start

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 240
ENDLESS = "100000000"


@contextmanager
def started(cache: Path, *arguments: str | Path, ranks: int = 1) -> Iterator[list[subprocess.Popen[str]]]:
    """The processes of `biggan-scale ...`, killed on leaving."""
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(ranks)} if ranks > 1 else {}
    ours = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "BIGGAN_SCALE_CACHE": str(cache)} | group
    command = [sys.executable, "-m", "biggan_scale.cli", *map(str, arguments)]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(command, env=os.environ | ours | ({"RANK": str(rank)} if group else {}), stdout=pipe, stderr=pipe, text=True)
        for rank in range(ranks)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    stdout, stderr = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, stdout, stderr


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert process.poll() is None, f"ended with {process.returncode}: {process.communicate()[1]}"
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def evaluate_command(subject: Subject, *more: str) -> tuple[str | Path, ...]:
    return ("evaluate", subject.run, "--data", subject.data, *more)


def test_two_ranks_find_the_numbers_of_one(subject: Subject, cache: Path, tmp_path: Path) -> None:
    command = evaluate_command(subject, "--metrics", "fid,kid,prdc,neighbours,linear_probe", "--num", "45", "--json")
    with started(tmp_path / "cache of one", *command) as (alone,):
        code, stdout, stderr = ended(alone)
        assert code == 0, stderr
        expected = json.loads(stdout)
    with started(cache, *command, ranks=2) as processes:
        outcomes = [ended(process) for process in processes]
    assert [code for code, _, _ in outcomes] == [0, 0], outcomes
    assert outcomes[1][1] == ""
    found = json.loads(outcomes[0][1])
    assert found["metrics"] == expected["metrics"]
    assert (found["ranks"], expected["ranks"]) == (2, 1)


# real images are few and their features kept, so the kept file says that generated images are being drawn


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, pytest.param(signal.SIGUSR2, marks=pytest.mark.slow), pytest.param(signal.SIGINT, marks=pytest.mark.slow)],
    ids=lambda number: number.name,
)
def test_a_signal_ends_an_evaluation_without_a_result(subject: Subject, cache: Path, number: signal.Signals) -> None:
    record = subject.run / "evaluations.jsonl"
    before = record.read_text() if record.exists() else ""
    with started(cache, *evaluate_command(subject, "--num", ENDLESS, "--json")) as (process,):
        wait_until(lambda: list(cache.glob("features/*.safetensors")), process)
        process.send_signal(number)
        code, stdout, stderr = ended(process)
    assert (code, stdout) == (75, ""), stderr
    assert stderr.splitlines()[-1].startswith(f"biggan-scale evaluate: {number.name}: stopped before the end, and nothing was written;")
    assert (record.read_text() if record.exists() else "") == before


@pytest.mark.slow  # one more start of two processes
def test_a_signal_to_one_of_two_ranks_ends_both(subject: Subject, cache: Path) -> None:
    with started(cache, *evaluate_command(subject, "--num", ENDLESS), ranks=2) as processes:
        wait_until(lambda: list(cache.glob("features/*.safetensors")), processes[0])
        processes[1].send_signal(signal.SIGTERM)
        outcomes = [ended(process) for process in processes]
    assert [code for code, _, _ in outcomes] == [75, 75], outcomes


@pytest.mark.slow  # torchrun and two ranks, three times
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_to_torchrun_ends_an_evaluation_and_leaves_nobody_behind(subject: Subject, cache: Path, number: signal.Signals) -> None:
    record = subject.run / "evaluations.jsonl"
    before = record.read_text() if record.exists() else ""
    hear_all = ("--signals-to-handle", "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR2")
    command = [str(word) for word in evaluate_command(subject, "--num", ENDLESS)]
    agent = start(*command, ranks=2, torchrun=hear_all, BIGGAN_SCALE_CACHE=str(cache))
    try:
        wait_until(lambda: list(cache.glob("features/*.safetensors")), agent)
        agent.send_signal(number)
        _, stderr = finish(agent)
        assert f"{number.name}: stopped before the end, and nothing was written" in stderr
        assert alive(subject.run) == []
    finally:
        if agent.poll() is None:
            kill(agent)
    assert (record.read_text() if record.exists() else "") == before


@pytest.mark.parametrize("out", ["folder", pytest.param("a.npz", marks=pytest.mark.slow)])
def test_a_signal_ends_sampling_and_leaves_what_was_there(subject: Subject, cache: Path, tmp_path: Path, out: str) -> None:
    target = tmp_path / "samples" / out
    with started(cache, "sample", subject.run, "--num", "3000000", "--out", target) as (process,):
        wait_until(lambda: list(tmp_path.glob("samples/.tmp_*/000007.png")) if out == "folder" else target.parent.exists(), process)
        process.send_signal(signal.SIGINT)
        code, _, stderr = ended(process)
    assert code == 75, stderr
    assert list(target.parent.iterdir()) == []


def test_a_second_interrupt_leaves_at_once_unless_it_comes_with_the_first() -> None:
    program = (
        "import os, signal, time\n"
        "from biggan_scale.engine.signals import SAME_S, StopFlag\n"
        "with StopFlag():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still here', flush=True)\n"
        "    time.sleep(SAME_S + 0.01)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('not any more', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "still here\n")
