"""Who am I among the processes of this run: rank, world, device; and the few words ranks exchange outside of gradients.

The same command runs alone, under torchrun (RANK, WORLD_SIZE, ...) and inside a Slurm step (SLURM_PROCID, ...): `start` reads
the environment and joins the process group. CPU tensors always travel by gloo, so a decision such as "stop now" costs no GPU
synchronisation; GPU tensors travel by NCCL.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from biggan_scale.config.errors import EnvironmentFault, UserError
from biggan_scale.dist.parent import die_with_parent
from biggan_scale.dist.waiting import waiting

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process's place. rank and local_rank count from 0; world is the number of processes."""

    rank: int
    world: int
    local_rank: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0


def start(timeout: timedelta = timedelta(minutes=30)) -> Ranks:
    """Join the process group that the environment describes, or run alone.

    Raises:
        EnvironmentFault: the rendezvous address cannot be reached or its port is taken.
    """
    rank, world, local_rank = _place()
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun's agent puts workers into sessions of their own: killed, it would orphan them
        die_with_parent(os.getppid())
    device = _device(local_rank)
    if world > 1:
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        try:
            dist.init_process_group(backend, store=store(timeout) if _agent_has_one() else None, rank=rank, world_size=world, timeout=timeout)
        except (RuntimeError, ValueError) as error:
            where = f"{os.environ.get('MASTER_ADDR', '?')}:{os.environ.get('MASTER_PORT', '?')}"
            raise EnvironmentFault(f"rank {rank} of {world} cannot join the process group at {where}: {_first_line(error)}") from error
    return Ranks(rank, world, local_rank, device)


def stop() -> None:
    """Leave the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def store(timeout: timedelta) -> dist.Store:
    """A client of the store in which the ranks of this start find each other.

    torchrun's agent keeps one store for all starts of its workers, in which a restarted rank may find the address of a dead one and
    give up there. On one node the starts have a number that all ranks know. On several nodes agents count differently; there
    TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1, as in our job scripts, gives every start a store of its own.
    """
    env = os.environ
    shared = dist.TCPStore(env["MASTER_ADDR"], int(env["MASTER_PORT"]), is_master=False, wait_for_workers=False, timeout=timeout)
    one_node = _agent_has_one() and env["GROUP_WORLD_SIZE"] == "1"
    return dist.PrefixStore(f"start {env['TORCHELASTIC_RESTART_COUNT']}", shared) if one_node else shared


def _agent_has_one() -> bool:
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def agree_max(values: list[int]) -> list[int]:
    """The largest of each value over all ranks: how ranks agree on a flag. CPU only, one message."""
    if world() == 1:
        return values
    tensor = torch.tensor(values, dtype=torch.int64)
    with waiting():
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return tensor.tolist()


def sum_over_ranks(value: int) -> int:
    """CPU only, one message."""
    if world() == 1:
        return value
    tensor = torch.tensor(value, dtype=torch.int64)
    dist.all_reduce(tensor)
    return int(tensor)


def from_main(value: T) -> T:
    """Rank 0's value on every rank."""
    if world() == 1:
        return value
    box = [value]
    with waiting():
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


def on_main(action: Callable[[], T]) -> T:
    """Rank 0 acts; every rank gets its result, or raises its error if that is one for the user."""
    outcome: tuple[T | None, type[UserError] | None, str] = (None, None, "")
    if rank() == 0:
        try:
            outcome = (action(), None, "")
        except UserError as error:
            outcome = (None, type(error), str(error))
    value, kind, message = from_main(outcome)
    if kind is not None:
        raise elsewhere(kind(message)) if rank() else kind(message)
    return value  # type: ignore[return-value]


def gather_on_main(tensor: Tensor) -> list[Tensor]:
    """Every rank's tensor, on rank 0; nothing on the others. A CPU tensor, of one shape on all ranks."""
    if world() == 1:
        return [tensor]
    parts = [torch.empty_like(tensor) for _ in range(world())] if rank() == 0 else None
    dist.gather(tensor, parts, dst=0)
    return parts or []


def elsewhere(error: UserError) -> UserError:
    """The error, marked as one that another rank prints."""
    error.reported_elsewhere = True
    return error


def _place() -> tuple[int, int, int]:
    """(rank, world, local rank) from torchrun's, Slurm's or no environment."""
    env = os.environ
    if "RANK" in env and "WORLD_SIZE" in env:
        return int(env["RANK"]), int(env["WORLD_SIZE"]), int(env.get("LOCAL_RANK", env["RANK"]))
    if "SLURM_STEP_NUM_TASKS" in env and int(env["SLURM_STEP_NUM_TASKS"]) > 1:  # only inside srun: the batch script itself is one process
        env.setdefault("MASTER_ADDR", _first_host(env.get("SLURM_STEP_NODELIST", env.get("SLURM_JOB_NODELIST", "localhost"))))
        env.setdefault("MASTER_PORT", str(20000 + int(env.get("SLURM_JOB_ID", "0")) % 20000))  # same on all ranks, apart for each job
        return int(env["SLURM_PROCID"]), int(env["SLURM_STEP_NUM_TASKS"]), int(env.get("SLURM_LOCALID", "0"))
    return 0, 1, 0


def _first_host(nodelist: str) -> str:
    """'gpu[07-12,20],cpu1' -> 'gpu07'."""
    match = re.match(r"([^\[,]+)(?:\[([^\],-]+))?", nodelist)
    assert match is not None, nodelist
    return match[1] + (match[2] or "")


def _device(local_rank: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(local_rank % torch.cuda.device_count())
    return torch.device("cuda", local_rank % torch.cuda.device_count())


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
