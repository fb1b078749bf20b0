"""Contestants that take turns, a step at a time, each in a process of its own: all meet the same load, and each has its own memory."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, Protocol

import torch


class Stepper(Protocol):
    images_per_round: int
    parameters: dict[str, int]

    def new_data(self) -> None: ...

    def step(self) -> None: ...


def race(contestants: Mapping[str, Callable[[], Stepper]], rounds: int, warmup: int, threads: int) -> dict[str, dict[str, Any]]:
    """Seconds and memory of each contestant's steps.

    Args:
        contestants: makers of steppers, called in their processes; so they must be picklable.
        rounds, warmup: how many steps are timed, and how many come before. The first to step changes with every round.
    """
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    processes = []
    for name, make in contestants.items():
        pipes[name], theirs = context.Pipe()
        processes.append(context.Process(target=_work, args=(theirs, make, threads), daemon=True))
        processes[-1].start()
        theirs.close()
    try:
        found = {name: _answer(pipe) | {"s": [], "cpu_s": []} for name, pipe in pipes.items()}
        for number in range(warmup + rounds):
            names = list(pipes)
            for name in names if number % 2 else names[::-1]:
                pipes[name].send("step")
                seconds, cpu_seconds = _answer(pipes[name])
                if number >= warmup:
                    found[name]["s"].append(seconds)
                    found[name]["cpu_s"].append(cpu_seconds)
        for name, pipe in pipes.items():
            pipe.send("end")
            found[name]["peak_rss_mb"] = _answer(pipe)
        return found
    finally:
        for process in processes:
            process.join(timeout=10)
            process.kill()


def _work(pipe: Connection, make: Callable[[], Stepper], threads: int) -> None:
    torch.set_num_threads(threads)
    try:
        stepper = make()
        pipe.send({"images_per_round": stepper.images_per_round, "parameters": stepper.parameters, "rss_before_rounds_mb": peak_rss_mb()})
        while pipe.recv() == "step":
            stepper.new_data()
            began, cpu_began = time.perf_counter(), time.process_time()
            stepper.step()
            pipe.send((time.perf_counter() - began, time.process_time() - cpu_began))
        pipe.send(peak_rss_mb())
    except Exception as error:  # the parent raises it
        pipe.send(error)


def _answer(pipe: Connection) -> Any:
    answer = pipe.recv()
    if isinstance(answer, Exception):
        raise answer
    return answer


def peak_rss_mb() -> int:
    """The largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
