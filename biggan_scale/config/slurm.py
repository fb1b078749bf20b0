"""What a job asks of Slurm: the `slurm:` block of a page, or flags of the same names for `biggan-launch`.

A site's habits fit in a page of their own, taken with `base:`. `docs/cluster.md` says what each is good for. Nothing here changes the
result of a run, so all of it may change from one submission to the next.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

NOT_EXTRA = ("array", "error", "output", "parsable", "test-only", "wait", "wrap")  # would hide the job or its log from us
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+))?")


@dataclass(frozen=True, kw_only=True)
class SlurmConfig:
    """What `biggan-launch submit` asks of Slurm. null leaves it to the site."""

    nodes: int = 1  # machines
    gpus_per_node: int = 1  # of each; 0: none, train on CPUs
    ranks_per_node: int | None = None  # processes on each; null: one per GPU
    cpus_per_rank: int | None = None  # cores of each process: its own and its data workers'
    mem: str | int | None = None  # memory of a node, like 400G
    time: str | int | None = None  # limit of one attempt, as Slurm writes it: minutes, 8:00:00, 2-00:00:00; then comes the next
    partition: str | None = None  # queue
    account: str | None = None  # who pays
    qos: str | None = None  # quality of service
    constraint: str | None = None  # features of nodes, like a100
    device: str | None = None  # kind of GPU the nodes have, like a100-40gb: a run that does not fit is refused; null: not planned
    gres: str | None = None  # instead of gpus_per_node where the site wants a type, like gpu:h100:8
    nodelist: str | None = None  # these nodes
    exclude: str | None = None  # not these
    exclusive: bool = False  # share the nodes with nobody
    reservation: str | None = None  # of nodes
    dependency: str | None = None  # start after, like afterok:1234
    job_name: str | None = None  # null: the name of the run directory
    comment: str | None = None  # for the site's accounting
    mail_type: str | None = None  # when to write, like END,FAIL
    mail_user: str | None = None  # to whom
    array_limit: int | None = None  # of a sweep, how many run at a time; null: all
    container_image: str | None = None  # of the training processes (pyxis)
    container_mounts: str | None = None  # what they see, like /data:/data
    python: str | None = None  # interpreter on the nodes; null: the one that submits
    setup: tuple[str, ...] = ()  # lines of shell before training, like module load cuda
    environment: Mapping[str, str] = field(default_factory=dict)  # variables of the job, like NCCL_SOCKET_IFNAME: ib0
    warn_s: int = 120  # seconds before the time limit at which the run is told to save; more than a round and a save take
    worker_restarts: int = 3  # torchrun: how often workers are started again before the job is
    shared_paths: tuple[str, ...] = ()  # folders that every node sees although they look local
    extra_sbatch: tuple[str, ...] = ()  # further options of sbatch, like --nice=10
    extra_srun: tuple[str, ...] = ()  # further options of srun, like --cpu-bind=none

    def __post_init__(self) -> None:
        limit_s = self.limit_s
        claims = [
            (self.nodes >= 1, f"nodes {self.nodes} must be at least 1"),
            (self.gpus_per_node >= 0, f"gpus_per_node {self.gpus_per_node} must be 0 or more"),
            (self.ranks_per_node is None or self.ranks_per_node >= 1, f"ranks_per_node {self.ranks_per_node} must be at least 1, or null"),
            (self.cpus_per_rank is None or self.cpus_per_rank >= 1, f"cpus_per_rank {self.cpus_per_rank} must be at least 1, or null"),
            (self.array_limit is None or self.array_limit >= 1, f"array_limit {self.array_limit} must be at least 1, or null"),
            (self.warn_s >= 10, f"warn_s {self.warn_s} must be at least 10: Slurm is as much as that out in its time"),
            (self.worker_restarts >= 0, f"worker_restarts {self.worker_restarts} must be 0 or more"),
            (
                limit_s is None or limit_s >= 3 * self.warn_s,
                f"time {self.time} is too short: at least {3 * self.warn_s // 60 or 1} min, three times warn_s ({self.warn_s} s)",
            ),
        ]
        claims += [(option.startswith("--"), f"extra_sbatch {option!r} must begin with --") for option in self.extra_sbatch]
        extra = [(option, option.removeprefix("--").partition("=")[0]) for option in self.extra_sbatch]
        claims += [
            (name not in NOT_EXTRA, f"extra_sbatch {option!r}: --{name} would hide the job from biggan-launch") for option, name in extra
        ]
        claims += [(option.startswith("--"), f"extra_srun {option!r} must begin with --") for option in self.extra_srun]
        if broken := [message for holds, message in claims if not holds]:
            raise ValueError("\n".join(broken))

    @property
    def ranks(self) -> int:
        """Processes on each node."""
        return self.ranks_per_node or max(self.gpus_per_node, 1)

    @property
    def world(self) -> int:
        return self.nodes * self.ranks

    @property
    def limit_s(self) -> int | None:
        """The time limit in seconds. Slurm's forms: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S."""
        if self.time is None:
            return None
        match = _TIME.fullmatch(str(self.time))
        if match is None:
            raise ValueError(f"time '{self.time}' is not a time of Slurm's: minutes, H:M:S or D-H:M:S")
        numbers = [int(number) for number in match.group("first", "second", "third") if number is not None]
        if match["days"] is not None:
            hours, minutes, seconds = [*numbers, 0, 0][:3]
            return ((int(match["days"]) * 24 + hours) * 60 + minutes) * 60 + seconds
        if len(numbers) == 3:
            return (numbers[0] * 60 + numbers[1]) * 60 + numbers[2]
        return numbers[0] * 60 + (numbers[1] if len(numbers) > 1 else 0)
