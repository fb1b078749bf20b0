"""Run a function on several real processes joined by gloo, and get what each returned."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import traceback
from collections.abc import Callable
from queue import Empty
from typing import Any

import torch
import torch.multiprocessing as mp

from biggan_scale.dist import process_group

TIMEOUT_S = 240


def run_ranks(world: int, function: Callable[..., Any], *args: Any) -> list[Any]:
    """[function(*args) on rank 0, on rank 1, ...].

    The function is defined at the top of a module; arguments and results are plain values (no tensors, no configs: use files).
    """
    context = mp.get_context("spawn")
    queue = context.Queue()
    port = free_port()
    processes = [context.Process(target=_one, args=(rank, world, port, queue, function, args), daemon=True) for rank in range(world)]
    for process in processes:
        process.start()
    results: dict[int, Any] = {}
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while len(results) < world:
            assert time.monotonic() < deadline, f"ranks {sorted(set(range(world)) - results.keys())} did not answer in {TIMEOUT_S} s"
            assert not any(process.exitcode for process in processes), f"exit codes {[process.exitcode for process in processes]}"
            with contextlib.suppress(Empty):
                rank, result, trace = queue.get(timeout=0.2)
                assert trace is None, f"rank {rank}:\n{trace}"
                results[rank] = result
    finally:
        for process in processes:
            process.join(10 if len(results) == world else 0)
            process.kill()
    return [results[rank] for rank in range(world)]


def _one(rank: int, world: int, port: int, queue: Any, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    try:
        process_group.start()
        queue.put((rank, function(*args), None))
    except BaseException:
        queue.put((rank, None, traceback.format_exc()))
    finally:
        process_group.stop()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
