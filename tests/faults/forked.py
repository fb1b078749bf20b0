"""Runs of a second: `biggan-scale train` in processes that are forked with everything loaded, to be killed by the hundred.

    run = Attempt(page, "run_dir=...", ranks=2, faults="kill at round 3 on rank 1")
    run.wait()

The processes are children of a server that has imported the project and done nothing with it (multiprocessing's forkserver).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import time
from pathlib import Path

from faults import inject
from support.ranks import free_port

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["pytest", "torch._dynamo", "biggan_scale.engine.train", "biggan_scale.games.gan", "biggan_scale.networks.mlp"]
)
TIMEOUT_S = 120


class Attempt:
    """One start of a run: a process for each rank.

    Args:
        page, overrides: as of `biggan-scale train`. The run writes its stderr into a file beside its directory.
        ranks: how many.
        faults: see inject.py.
        hold: the file of the action "hold".
    """

    def __init__(self, page: str, *overrides: str, ranks: int = 1, faults: str = "", hold: Path | None = None) -> None:
        self._said = Path(page).with_suffix(".stderr")
        self._said.write_text("")
        variables = {inject.HOLD: str(hold)} if hold else {}
        if ranks > 1:
            variables |= {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        self.processes = [
            CONTEXT.Process(target=_train, args=(page, overrides, {**variables, "RANK": str(rank)} if ranks > 1 else variables, faults))
            for rank in range(ranks)
        ]
        for process in self.processes:
            process.start()

    def wait(self, timeout_s: float = TIMEOUT_S) -> list[int]:
        """Exit codes; minus the signal of those that were ended by one. After the time they are killed, and it is an error."""
        deadline = time.monotonic() + timeout_s
        for process in self.processes:
            process.join(max(deadline - time.monotonic(), 0))
        late = [rank for rank, process in enumerate(self.processes) if process.is_alive()]
        self.kill()
        assert not late, f"ranks {late} had not ended after {timeout_s} s: {self.said()}"
        return self.codes()

    def kill(self) -> None:
        """kill -9 of every rank."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()

    def alive(self) -> bool:
        return all(process.is_alive() for process in self.processes)

    def codes(self) -> list[int]:
        assert all(process.exitcode is not None for process in self.processes)
        return [process.exitcode or 0 for process in self.processes]

    def signal(self, number: int, rank: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.processes[rank].pid or 0, number)

    def said(self) -> str:
        """stderr of all ranks."""
        return self._said.read_text()


def _train(page: str, overrides: tuple[str, ...], variables: dict[str, str], faults: str) -> None:
    import torch

    from biggan_scale import cli

    torch.set_num_threads(1)
    os.environ |= variables
    os.setsid()
    with Path(page).with_suffix(".stderr").open("a") as said:
        os.dup2(said.fileno(), 2)
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115 - until the process ends
    inject.install(faults)
    sys.exit(cli.main(["train", page, *overrides]))
