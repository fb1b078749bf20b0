"""What a run can be told, outside its components: one frozen dataclass a section, one field a key, documented where it stands.

`RunConfig` is the whole page. The settings of games, networks and priors are beside their classes; see `component.py`.
Here are no defaults for what the user must decide. `configs/base/run.yaml` has the usual choices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from biggan_scale.config.component import Part, part
from biggan_scale.config.duration import Duration
from biggan_scale.config.errors import ConfigError
from biggan_scale.config.health import HealthConfig
from biggan_scale.config.schedule import Schedule
from biggan_scale.config.slurm import SlurmConfig
from biggan_scale.config.spec import ImageSpec


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The images a run learns from."""

    path: str  # directory or URL of shards made by `biggan-data pack`, packaged:emoji64, or stream:URL of tars without index
    resolution: int | tuple[int, int]  # side in pixels, or [height, width]; what the shards were packed at
    channels: int = 3  # 1 grey, 3 RGB
    num_classes: int = 0  # labels are 0 .. num_classes - 1; 0: unconditional
    flip: bool = False  # mirror each image left to right with probability 1/2
    workers: int = 1  # decoding processes per rank; 0: in the training process. Changes speed, never the samples
    window: int = 16  # shards shuffled together; more mixes better and opens more files
    shuffle_seed: int | None = None  # seed of the order of samples; null: the run's seed
    max_bad_share: float = 0.001  # of the samples, how many bad ones may be replaced by a neighbour, beyond ten; 0: none at all
    cache_gb: float | None = None  # of remote shards kept on this disk, at least two windows; null: all of them
    range_reads_gb: float = 1.0  # remote shards larger than this are not copied: their samples are read one by one
    tries: int = 5  # how often a remote read is tried, with growing pauses
    timeout_s: float = 30.0  # longest wait for one answer of a remote server

    def __post_init__(self) -> None:
        _require(
            (min(self.size) >= 1, f"resolution {self.resolution} must be at least 1"),
            (self.channels >= 1, f"channels {self.channels} must be at least 1"),
            (self.num_classes >= 0, f"num_classes {self.num_classes} must be 0 or more"),
            (self.workers >= 0, f"workers {self.workers} must be 0 or more"),
            (self.window >= 1, f"window {self.window} must be at least 1"),
            (0 <= self.max_bad_share < 1, f"max_bad_share {self.max_bad_share} must be in [0, 1)"),
            (self.cache_gb is None or self.cache_gb > 0, f"cache_gb {self.cache_gb} must be above 0, or null"),
            (self.range_reads_gb >= 0, f"range_reads_gb {self.range_reads_gb} must be 0 or more"),
            (self.tries >= 1, f"tries {self.tries} must be at least 1"),
            (self.timeout_s > 0, f"timeout_s {self.timeout_s} must be above 0"),
        )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return (self.resolution, self.resolution) if isinstance(self.resolution, int) else self.resolution


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimizer of one player."""

    type: Literal["adam"] = "adam"  # decoupled weight decay when there is any (AdamW)
    lr: Schedule  # learning rate, of the global batch: not scaled by the number of ranks
    betas: tuple[float, float]  # decay of the running mean and of the running square of the gradient
    eps: float  # added to the denominator
    weight_decay: float = 0.0  # decoupled from the gradient
    clip_grad_norm: float | None = None  # largest norm of a player's gradient; null: not clipped

    def __post_init__(self) -> None:
        _require(
            (all(0 <= beta < 1 for beta in self.betas), f"betas {list(self.betas)} must be in [0, 1)"),
            (min(self.lr.from_, self.lr.to) >= 0, "lr must be 0 or more"),
            (self.eps > 0, f"eps {self.eps} must be above 0"),
            (self.weight_decay >= 0, f"weight_decay {self.weight_decay} must be 0 or more"),
            (self.clip_grad_norm is None or self.clip_grad_norm > 0, f"clip_grad_norm {self.clip_grad_norm} must be above 0, or null"),
        )


@dataclass(frozen=True, kw_only=True)
class EmaConfig:
    """The moving average of the weights: what snapshots, metrics and exports use."""

    decay: float | None = 0.9999  # part of the average kept each round; 0: no average; null: by half_life
    half_life: Duration | None = None  # instead of decay: the same average whatever the batch size
    start: Duration = Duration(0, "img")  # until then the average is a copy of the weights
    rampup: float | None = None  # half-life at most this part of the images seen (StyleGAN2: 0.05); null: no ramp
    buffers: Literal["average", "copy"] = "average"  # of running statistics: average them too, or copy the newest
    standing_batches: int = 0  # batches to estimate batch norm statistics from before generating; 0: the running ones

    def __post_init__(self) -> None:
        _require(
            (self.decay is None or 0 <= self.decay < 1, f"decay {self.decay} must be in [0, 1), or null"),
            ((self.decay is None) != (self.half_life is None), "decay or half_life, one of them; the other is null"),
            (self.half_life is None or self.half_life.seconds() is None, f"half_life {self.half_life} must be of images or rounds"),
            (self.start.seconds() is None, f"start {self.start} must be of images or rounds"),
            (self.rampup is None or self.half_life is not None, f"rampup {self.rampup} limits half_life, which is not given"),
            (self.rampup is None or self.rampup > 0, f"rampup {self.rampup} must be above 0, or null"),
            (self.standing_batches >= 0, f"standing_batches {self.standing_batches} must be 0 or more"),
        )


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """What is kept to resume from."""

    every: Duration = Duration(30, "min")  # how often one is written, besides at the end and when stopped
    keep: int = 3  # newest valid ones kept, at least 2, besides the last healthy one and that of the best FID in evaluations.jsonl
    asynchronous: bool = True  # training goes on while one is written, from a copy of the state in memory

    def __post_init__(self) -> None:
        _require((self.keep >= 2, f"keep {self.keep} must be at least 2"), (self.every.value > 0, f"every {self.every} must be above 0"))


@dataclass(frozen=True, kw_only=True)
class WatchdogConfig:
    """Ranks that hang or hold the others up."""

    limit: Duration = Duration(10, "min")  # without progress on a rank: stacks are written, the silent rank is named, the run ends
    straggler: float = 1.5  # a rank is named whose own time per round is this many times the median rank's

    def __post_init__(self) -> None:
        seconds = self.limit.seconds()
        _require(
            (seconds is not None and seconds >= 1, f"limit {self.limit} must be a time of at least 1 s"),
            (self.straggler > 1, f"straggler {self.straggler} must be above 1"),
        )


@dataclass(frozen=True, kw_only=True)
class LogConfig:
    """What is said while training."""

    every: Duration = Duration(50, "rounds")  # how often a line of metrics is written
    tensorboard: bool = True  # event files beside metrics.jsonl

    def __post_init__(self) -> None:
        _require((self.every.value > 0, f"every {self.every} must be above 0"))


@dataclass(frozen=True, kw_only=True)
class SnapshotConfig:
    """The grids of samples, always of the same noise."""

    every: Duration = Duration(100, "kimg")  # how often a grid is drawn
    rows: int = 8  # of the grid; a row shows one class or one code, where there are any
    columns: int = 8  # images in a row
    interpolations: int = 2  # further rows, each a walk between two latents; 0: none
    truncation: float | None = None  # of the latents; null: the prior as trained

    def __post_init__(self) -> None:
        _require(
            (self.every.value > 0, f"every {self.every} must be above 0"),
            (self.rows >= 1, f"rows {self.rows} must be at least 1"),
            (self.columns >= 1, f"columns {self.columns} must be at least 1"),
            (self.interpolations >= 0, f"interpolations {self.interpolations} must be 0 or more"),
            (self.truncation is None or self.truncation > 0, f"truncation {self.truncation} must be above 0, or null"),
        )


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One training run, completely."""

    run_dir: str  # where everything of this run is written, and resumed from
    until: Duration  # when it is complete
    batch_size: int  # images in a global batch, over all ranks
    game: Part = part("games")  # the algorithm: who plays, what each player minimises
    data: DataConfig  # the images
    optim: Mapping[str, OptimizerConfig]  # the optimizer of each player, by the player's name
    seed: int = 0  # of everything random: initial weights, noise, order of samples
    micro_batch: int | None = None  # images per rank and backward pass; null: the rank's whole part of the batch
    precision: Literal["fp32", "bf16", "fp16", "fp64"] = "fp32"  # of forward and backward; weights stay fp32. fp64: for checks
    parallel: Literal["ddp", "zero", "fsdp"] = "ddp"  # how ranks share the work. zero: each keeps a part of the optimizers' moments
    channels_last: bool = True  # memory layout of images, faster on most devices
    max_bad_rounds: int = 10  # rounds in a row with a batch or gradient that is not finite, before rolling back
    max_rollbacks: int = 2  # returns to the last healthy checkpoint, each with fresh noise, before giving up
    allow_changes: tuple[str, ...] = ()  # keys that may differ from what the run was started with, such as [optim.G.lr]
    ema: EmaConfig = field(default_factory=EmaConfig)  # the averaged weights
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)  # what is kept to resume from
    watchdog: WatchdogConfig = field(default_factory=WatchdogConfig)  # ranks that hang or hold the others up
    log: LogConfig = field(default_factory=LogConfig)  # what is said while training
    snapshot: SnapshotConfig = field(default_factory=SnapshotConfig)  # grids of samples
    health: HealthConfig = field(default_factory=HealthConfig)  # signs of a collapse that are watched
    slurm: SlurmConfig = field(default_factory=SlurmConfig)  # what a job asks of Slurm

    def __post_init__(self) -> None:
        players = getattr(self.game.config, "PLAYERS", tuple(self.optim))
        given, needed = ", ".join(self.optim), ", ".join(players)
        _require(
            (bool(self.run_dir), "run_dir must not be empty"),
            (self.batch_size >= 1, f"batch_size {self.batch_size} must be at least 1"),
            (self.seed >= 0, f"seed {self.seed} must be 0 or more"),
            (self.micro_batch is None or self.micro_batch >= 1, f"micro_batch {self.micro_batch} must be at least 1, or null"),
            (self.parallel != "fsdp", "parallel fsdp is not built yet; use ddp or zero"),
            (self.max_bad_rounds >= 1, f"max_bad_rounds {self.max_bad_rounds} must be at least 1"),
            (self.max_rollbacks >= 0, f"max_rollbacks {self.max_rollbacks} must be 0 or more"),
            (
                set(self.optim) == set(players),
                f"optim has {given}, but the players of {self.game.type} are {needed}",
            ),
        )

    @property
    def data_seed(self) -> int:
        """What the order and the flips of the samples derive from."""
        return self.seed if self.data.shuffle_seed is None else self.data.shuffle_seed

    def image_spec(self) -> ImageSpec:
        return ImageSpec(*self.data.size, self.data.channels, self.data.num_classes)


def micro_batches(config: RunConfig, world: int) -> tuple[int, int]:
    """Images in a micro-batch and micro-batches per rank and global batch, over `world` ranks; ConfigError if it does not divide."""
    together = world * (config.micro_batch or 1)
    if config.batch_size % together:
        below = config.batch_size // together * together
        ranks = f"{world} rank{'s' if world > 1 else ''}" + (f" x micro_batch {config.micro_batch}" if config.micro_batch else "")
        nearest = f"{below} or {below + together}" if below else f"{together}"
        raise ConfigError(f"batch_size {config.batch_size} is not divisible by {ranks}; nearest: {nearest}")
    per_rank = config.batch_size // world
    return config.micro_batch or per_rank, per_rank // (config.micro_batch or per_rank)


def _require(*claims: tuple[bool, str]) -> None:
    """ValueError with the messages of the claims that do not hold, one a line."""
    broken = [message for holds, message in claims if not holds]
    if broken:
        raise ValueError("\n".join(broken))
