"""The contract between an algorithm and the engine.

A *game* says who plays and what each player minimises: which networks there are, who is trained (`players`), in what order
(`moves`), on what randomness (`draw`) and towards what (`loss`). The engine owns everything else: processes, precision,
accumulation, optimizers, EMA, checkpoints, logs. No process group, optimizer or file enters a game; no algorithm enters the engine.

State (a path-length mean, an augmentation probability) lives in module buffers, and buffers are persistent: then it is
checkpointed and equal on all ranks without another word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from biggan_scale.config import ImageSpec, OptimizerConfig
from biggan_scale.dist.seeds import Noise
from biggan_scale.latent.interpolation import slerp

Draw = dict[str, Tensor]


@dataclass(frozen=True)
class Clock:
    """Time, counted in real images consumed from the data stream, and in rounds."""

    nimg: int = 0
    round: int = 0


@dataclass(frozen=True)
class Batch:
    """A micro-batch of real samples.

    images: (B, C, H, W) float in [-1, 1]. labels: (B,) int64, or None where the game is not conditional.
    positions: the B places of the samples in the data stream; all randomness derives from them.
    extra: further tensors of the samples, by name.
    """

    images: Tensor
    labels: Tensor | None
    positions: tuple[int, ...]
    extra: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Move:
    """One optimizer step of one player.

    Args:
        name: unique in the game; the stream of its randomness and the prefix of its log names.
        player: who moves.
        every: the move is due in rounds divisible by this (lazy regularisation).
        repeats: how often in a row; each repeat gets the next global batch of the round.
        partial: its loss reaches only some of the player's parameters; the others keep their gradient None and are not stepped.
    """

    name: str
    player: str
    every: int = 1
    repeats: int = 1
    partial: bool = False


class Terms(NamedTuple):
    """What a move minimises and what it shows, as scalar tensors (means over the micro-batch, weights applied).

    loss: the terms whose sum is minimised. watch: values to log or to steer by, not differentiated.
    """

    loss: dict[str, Tensor]
    watch: dict[str, Tensor] = {}  # noqa: RUF012 - a default, never written to


def full_precision(score: Tensor) -> Tensor:
    """A score in at least float32: losses are never computed in the half precision of autocast."""
    return score.to(torch.promote_types(score.dtype, torch.float32))


class Game(nn.Module):
    """Base of all algorithms. Subclasses build their networks in `__init__(config, spec)`.

    Attributes:
        config: the game's own config dataclass.
        spec: height, width, channels and number of classes of the images.
    """

    def __init__(self, config: Any, spec: ImageSpec) -> None:
        super().__init__()
        self.config = config
        self.spec = spec

    # who plays

    def players(self) -> dict[str, tuple[nn.Module, ...]]:
        """Disjoint sets of modules, each trained by one optimizer; together they hold every trainable parameter."""
        raise NotImplementedError

    def averaged(self) -> dict[str, nn.Module]:
        """The modules that are used after training, by name: EMA follows them, exports carry them."""
        raise NotImplementedError

    def optimizer(self, player: str, config: OptimizerConfig) -> OptimizerConfig:
        """The settings of a player's optimizer, from those of the page: corrections that follow from the schedule of moves."""
        return config

    # when

    def moves(self, clock: Clock) -> tuple[Move, ...]:
        """The moves of a round, in order."""
        raise NotImplementedError

    def batches_per_round(self, clock: Clock) -> int:
        """How many global batches of real images a round consumes: the clock's step is this times the global batch size."""
        return max(move.repeats for move in self.moves(clock))

    def before_round(self, clock: Clock) -> None:
        """What follows from the time alone: networks that grow, and the like. Buffers may change here too."""

    # on what

    def latents(self, noise: Noise, labels: Tensor | None = None, truncation: float | None = None) -> Draw:
        """What `generate` needs for len(noise) images: latent vectors, and labels (given, or drawn where the game has classes)."""
        raise NotImplementedError

    def draw(self, move: Move, batch: Batch, noise: Noise) -> Draw:
        """ALL randomness of one micro-batch of one move. The default is a set of latents."""
        return self.latents(noise)

    # towards what

    def loss(self, move: Move, batch: Batch, draw: Draw) -> Terms:
        """What the player of `move` minimises. Deterministic: every random number comes in through `draw`."""
        raise NotImplementedError

    def add_gradients(self, move: Move) -> None:
        """Regularisers with a closed-form gradient, added to `.grad` once per step (after accumulation and reduction)."""

    def after_step(self, move: Move) -> None:
        """Constraints on the parameters after a step: weight clipping and the like."""

    def after_round(self, stats: Mapping[str, Tensor], clock: Clock) -> None:
        """Controllers with state. `stats` maps "move/name" to scalar tensors averaged over micro-batches and ranks."""

    # what comes out

    def generated_spec(self) -> ImageSpec:
        """The images that `generate` makes; those of the data, but for games that look at larger ones than they draw."""
        return self.spec

    def as_generated(self, images: Tensor) -> Tensor:
        """Real images in the size of generated ones, to be compared with them."""
        return images

    def generate(self, draw: Draw) -> Tensor:
        """(B, C, H, W) images in [-1, 1] from what `latents` returned."""
        raise NotImplementedError

    def scores(self, images: Tensor, labels: Tensor | None) -> Tensor | None:
        """(B,) how real D holds these images to be, larger for more real, in at least float32; None where no player judges images.

        The watch over a run's health asks, without gradients and in eval mode.
        """
        return None

    def num_rows(self) -> int:
        """How many things there are to show in a row each, on a sheet of samples: classes, or codes; 0 where there are none."""
        return self.spec.num_classes

    def arrange(self, draw: Draw, columns: int) -> Draw:
        """The latents of a sheet with so many columns as they are to be shown, row by row. The default leaves them as drawn."""
        return draw

    def reconstruct(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Real images (B, C, H, W) as G would make them, and G(E(x)) beside them. For games that average an "E"."""
        raise NotImplementedError

    def interpolate(self, a: Draw, b: Draw, t: float | Tensor) -> Draw:
        """The latents at fraction t (a number, or (B, 1)) of the way from a to b: vectors on the great circle, else (labels) those of a."""
        return {name: slerp(a[name], b[name], t) if a[name].is_floating_point() and a[name].ndim == 2 else a[name] for name in a}
