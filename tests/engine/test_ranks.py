"""More ranks change neither what is seen nor what is drawn, and the weights only by rounding."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from biggan_scale.config import ImageSpec, OptimizerConfig, Schedule
from biggan_scale.data.order import GlobalOrder
from biggan_scale.dist import process_group
from biggan_scale.dist.seeds import Noise
from biggan_scale.engine import checkpoint
from biggan_scale.engine.agreement import check_ranks_agree
from biggan_scale.engine.feed import Feed, open_checked
from biggan_scale.engine.loop import Engine, build_game
from biggan_scale.engine.moves import Mover, freeze
from biggan_scale.engine.optim import make_optimizers
from biggan_scale.engine.parallel.ddp import Ddp
from biggan_scale.engine.precision import Precision
from biggan_scale.games.base import Batch, Clock, Draw, Game, Move, Terms
from support.ranks import run_ranks
from support.tiny import assert_same, tiny_config

CPU = torch.device("cpu")
ROUNDS = 10


@pytest.mark.slow  # ten rounds by 1, 2 and 4 processes
@pytest.mark.timeout(900)
def test_ranks_see_the_same_samples_and_noise_and_reach_the_same_weights(tmp_path: Path) -> None:
    open_checked(config_on_real_images())  # packs once
    for world in (1, 2, 4):
        run_ranks(world, train_and_record, str(tmp_path / str(world)))
    records = {world: merged(tmp_path / str(world)) for world in (1, 2, 4)}
    assert len(records[1]) == ROUNDS * 3 * 8  # every draw of every sample: two moves of D, one of G
    assert records[1] == records[2] == records[4]
    alone, of_two, of_four = (checkpoint.load(next((tmp_path / str(w) / "state").glob("*-kimg"))) for w in (1, 2, 4))
    parameters = [name for name, _ in build_game(config_on_real_images(), CPU).named_parameters()]
    for several in (of_two, of_four):
        assert max(float((alone.model[name] - several.model[name]).abs().max()) for name in parameters) < 1e-9
        # A bias before a batch norm has a true gradient of 0, and Adam scales the rounding error in its place: 4e-10 here, which
        # the running mean behind it sums up.
        assert_same(alone, several, atol=1e-8)


def config_on_real_images():
    return tiny_config("data.path=packaged:emoji64", "data.num_classes=9", "data.workers=0", "data.flip=true")


def train_and_record(folder: str) -> None:
    """Ten rounds; writes what this rank saw and drew, and on rank 0 the state."""
    config = config_on_real_images()
    dataset = open_checked(config)
    engine = Engine(config, CPU)
    order = GlobalOrder(dataset.shard_sizes, config.data_seed, config.data.window)
    seen: dict[str, str] = {}
    draw = engine.game.draw

    def recording(move: Move, batch: Batch, noise: Noise) -> Draw:
        drawn = draw(move, batch, noise)
        for i, position in enumerate(batch.positions):
            sample = order.positions(position, position + 1)[0].tolist()
            content = [batch.images[i], *(drawn[name][i] for name in sorted(drawn))]
            digest = hashlib.sha256(b"".join(t.contiguous().numpy().tobytes() for t in content)).hexdigest()
            seen[f"{move.name} at {position}"] = f"{sample} {int(batch.labels[i])} {digest}"
        return drawn

    engine.game.draw = recording  # type: ignore[method-assign]
    with Feed(config, dataset, engine) as feed:
        for _ in range(ROUNDS):
            engine.round(feed.next_round())
    check_ranks_agree(engine.game, "after the last round")
    Path(folder).mkdir(exist_ok=True)
    (Path(folder) / f"seen_{process_group.rank()}.json").write_text(json.dumps(seen))
    if process_group.rank() == 0:
        checkpoint.save(Path(folder) / "state", engine.state_dict(), {})


def merged(folder: Path) -> dict[str, str]:
    parts = [json.loads(path.read_text()) for path in folder.glob("seen_*.json")]
    everything = {name: what for part in parts for name, what in part.items()}
    assert len(everything) == sum(len(part) for part in parts), "two ranks drew for one sample"
    return everything


# moves that reach only some of a player's parameters


class LazyGame(Game):
    """One player of two layers; its second move reaches only the first of them."""

    def __init__(self) -> None:
        super().__init__(None, ImageSpec(1, 1, 4, 0))
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(4, 3).double(), nn.Linear(3, 1).double()

    def players(self) -> dict[str, tuple[nn.Module, ...]]:
        return {"P": (self.first, self.second)}

    def moves(self, clock: Clock) -> tuple[Move, ...]:
        return Move("main", "P"), Move("lazy", "P", partial=True)

    def latents(self, noise: Noise, labels: Tensor | None = None, truncation: float | None = None) -> Draw:
        return {"z": noise.normal(4)}

    def loss(self, move: Move, batch: Batch, draw: Draw) -> Terms:
        hidden = self.first(draw["z"] + batch.images.flatten(1))
        return Terms({"t": hidden.square().mean() if move.name == "lazy" else self.second(hidden.tanh()).square().mean()})


def play_lazy_game() -> list[list[float]]:
    game = LazyGame()
    adam = OptimizerConfig(lr=Schedule.constant(1e-2), betas=(0.5, 0.9), eps=1e-8)
    parallel = Ddp(game)
    optimizers = make_optimizers({"P": adam}, game, parallel)
    optimizers["P"].set_time(0, 8)
    freeze(game)
    mover = Mover(game, optimizers, parallel, Precision("fp64", CPU, ["P"]), seed=0, device=CPU)
    share = 8 // process_group.world()
    for start in (0, 8, 16):
        positions = range(start + process_group.rank() * share, start + (process_group.rank() + 1) * share)
        images = torch.stack([torch.full((4, 1, 1), float(p), dtype=torch.float64) for p in positions]) / 10
        halves = [Batch(images[i::2], None, tuple(positions[i::2])) for i in range(2)]
        for move in game.moves(Clock()):
            mover.play(move, halves)
    steps = [optimizers["P"].state_dict()[f"{name}.weight/step"].item() for name in ("first", "second")]
    return [steps, *(p.flatten().tolist() for p in game.parameters())]


def test_partial_moves_are_reduced_and_step_only_what_they_reach() -> None:
    alone = play_lazy_game()
    assert alone[0] == [6, 3]
    for of_two in run_ranks(2, play_lazy_game):
        assert of_two[0] == alone[0]
        for mine, theirs in zip(alone[1:], of_two[1:], strict=True):
            assert mine == pytest.approx(theirs, abs=1e-12)
