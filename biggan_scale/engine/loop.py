"""The engine: the page to read first.

A round, in words: the game is told the time; for each due move, free its player and freeze the others; for each micro-batch, the
terms the game names, and the backward of their sum divided by the number of micro-batches, synchronising on the last only; check,
clip, step. Then the game's controllers, the averages, and the clock.

The clock counts images. Schedules, randomness and data positions are functions of it, so a run is a function of (config, images
seen): `state_dict` holds tensors and two integers, and to resume is to go on counting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from biggan_scale.config import RunConfig, build, micro_batches
from biggan_scale.config.errors import CheckpointError
from biggan_scale.dist import process_group
from biggan_scale.dist.seeds import derive_seed
from biggan_scale.engine.checkpoint import TrainingState
from biggan_scale.engine.ema import Ema
from biggan_scale.engine.moves import Mover, Outcome, freeze
from biggan_scale.engine.optim import make_optimizers
from biggan_scale.engine.parallel import strategy
from biggan_scale.engine.parallel.ddp import average
from biggan_scale.engine.precision import Precision
from biggan_scale.games.base import Batch, Clock, Game


class Engine:
    """Trains a game. Knows no algorithm and no file.

    Args:
        config: the run.
        device: where the game lives. The process group, if there is one, is already up.
    """

    def __init__(self, config: RunConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        self.micro_batch, self.num_micro = micro_batches(config, process_group.world())
        self.game = build_game(config, device)
        self.precision = Precision(config.precision, device, self.game.players())
        self.game.to(self.precision.dtype)
        self.parallel = strategy(config.parallel, self.game)
        freeze(self.game)
        self.optimizers = make_optimizers(config.optim, self.game, self.parallel)
        self.mover = Mover(self.game, self.optimizers, self.parallel, self.precision, config.seed, device)
        self.ema = Ema(config.ema, self.game)
        self.clock = Clock()
        self.bad_rounds = 0  # rounds in a row with a batch or a gradient that was not finite
        self.tell: Callable[[str], None] = lambda place: None  # called with where a round stands
        self.trouble = ""  # what the last of them met
        self.rollbacks = 0  # how often the run went back to an earlier checkpoint; each time the noise is another

    @property
    def batches_per_round(self) -> int:
        """Global batches that the coming round consumes."""
        return self.game.batches_per_round(self.clock)

    @property
    def images_per_round(self) -> int:
        return self.batches_per_round * self.config.batch_size

    def ranges(self) -> Iterator[tuple[int, int]]:
        """From now on, the (start, stop) data positions of this rank's micro-batches, without end.

        A global batch is a range of positions, a rank's part a slice of it, a micro-batch a slice of that.
        """
        start = self.clock.nimg
        per_rank = self.micro_batch * self.num_micro
        while True:
            mine = start + process_group.rank() * per_rank
            for micro in range(self.num_micro):
                yield mine + micro * self.micro_batch, mine + (micro + 1) * self.micro_batch
            start += self.config.batch_size

    def round(self, batches: Sequence[Sequence[Batch]]) -> dict[str, Tensor]:
        """Play one round.

        Args:
            batches: `batches_per_round` global batches, each as this rank's micro-batches.

        Returns:
            "move/term" -> scalar, the mean over micro-batches, repeats and ranks. No value has been waited for.
        """
        clock, images = self.clock, self.images_per_round
        if not _finite_on_all_ranks(batches):
            return self._skipped(images)
        for optimizer in self.optimizers.values():
            optimizer.set_time(clock.nimg, images)
        self.game.before_round(clock)
        stats: dict[str, Tensor] = {}
        outcomes: set[Outcome] = set()
        for move in self.game.moves(clock):
            if clock.round % move.every:
                continue
            for repeat in range(move.repeats):
                self.tell(f"round {clock.round}, move {move.name}")
                terms, outcome = self.mover.play(move, batches[repeat])
                outcomes.add(outcome)
                for name, value in terms.items():
                    stats[name] = stats.get(name, 0) + value / move.repeats
        stats = _mean_over_ranks(stats)
        finite = Outcome.NOT_FINITE not in outcomes
        self.bad_rounds = 0 if finite else self.bad_rounds + 1
        self.trouble = "" if finite else "a gradient was not finite; the step was not taken"
        if outcomes == {Outcome.STEPPED}:  # a controller must not learn from a round that did not happen
            self.game.after_round(stats, clock)
        self.clock = Clock(clock.nimg + images, clock.round + 1)
        self.ema.update(self.clock.nimg, images)
        return stats

    def _skipped(self, images: int) -> dict[str, Tensor]:
        """A round whose images nobody may see: time passes, nothing else happens."""
        self.bad_rounds += 1
        self.trouble = "an image was not finite; the round was skipped"
        self.clock = Clock(self.clock.nimg + images, self.clock.round + 1)
        return {}

    def renew_noise(self, rollbacks: int) -> None:
        """From now on draw as after the n-th roll-back: the same noise would lead to the same end."""
        self.rollbacks = rollbacks
        self.mover.seed = derive_seed(self.config.seed, "rollback", rollbacks) if rollbacks else self.config.seed

    def state_dict(self) -> TrainingState:
        """The whole training state; tensors are the live ones. All ranks must ask: under ZeRO only rank 0 gets all of it."""
        return TrainingState(
            model=self.game.state_dict(),
            ema=self.ema.state_dict(),
            optim={f"{player}/{name}": t for player, o in self.optimizers.items() for name, t in o.state_dict().items()},
            state=self._counters(),
        )

    def _counters(self) -> dict[str, Any]:
        return {
            "nimg": self.clock.nimg,
            "round": self.clock.round,
            "seed": self.config.seed,
            "bad_rounds": self.bad_rounds,
            "rollbacks": self.rollbacks,
            "loss_scale": self.precision.state_dict(),
        }

    def load_state_dict(self, saved: TrainingState) -> None:
        """Continue from a saved state.

        Raises:
            CheckpointError: a part is missing, unknown, or of another shape; nothing has been loaded.
        """
        _must_match("model", _shapes(self.game.state_dict()), saved.model)
        _must_match("ema", _shapes(self.ema.state_dict()), saved.ema)
        optim = {f"{player}/{name}": shape for player, o in self.optimizers.items() for name, shape in o.shapes().items()}
        _must_match("optim", optim, saved.optim)
        if missing := self._counters().keys() - saved.state.keys():
            raise CheckpointError(f"state.json lacks {', '.join(sorted(missing))}")
        self.game.load_state_dict(dict(saved.model))
        self.ema.load_state_dict(dict(saved.ema))
        for player, optimizer in self.optimizers.items():
            prefix = f"{player}/"
            optimizer.load_state_dict({n.removeprefix(prefix): t for n, t in saved.optim.items() if n.startswith(prefix)})
        self.precision.load_state_dict(saved.state["loss_scale"])
        self.bad_rounds = saved.state["bad_rounds"]
        self.renew_noise(saved.state["rollbacks"])
        self.clock = Clock(saved.state["nimg"], saved.state["round"])


def build_game(config: RunConfig, device: torch.device) -> Game:
    """The game of a config, initialised from the run's seed alike on every rank, in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, "init"))
        game: Game = build(config.game, config.image_spec())
    game.to(device)
    if config.channels_last:
        game.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return game.train()


def _finite_on_all_ranks(batches: Sequence[Sequence[Batch]]) -> bool:
    """Is every number of every rank's batches finite? Looked at before anything has seen them: one NaN stays in statistics for ever."""
    tensors = [t for micro in batches for batch in micro for t in (batch.images, *batch.extra.values()) if t.is_floating_point()]
    mine = all(bool(tensor.isfinite().all()) for tensor in tensors)
    return process_group.agree_max([int(not mine)]) == [0]


def _mean_over_ranks(stats: dict[str, Tensor]) -> dict[str, Tensor]:
    if process_group.world() == 1:
        return stats
    values = torch.stack([value.double() for value in stats.values()])
    average([values])
    return dict(zip(stats, values.unbind(), strict=True))


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _must_match(part: str, mine_shapes: Mapping[str, tuple[int, ...]], saved: Mapping[str, Tensor]) -> None:
    saved_shapes = _shapes(saved)
    if mine_shapes == saved_shapes:
        return
    names = sorted(mine_shapes.keys() ^ saved_shapes.keys()) or [n for n in mine_shapes if mine_shapes[n] != saved_shapes[n]]
    name = names[0]
    raise CheckpointError(
        f"{part}.safetensors does not fit the config: {name} is {saved_shapes.get(name, 'missing')} in the checkpoint and "
        f"{mine_shapes.get(name, 'missing')} in the model ({len(names)} such tensors)"
    )
