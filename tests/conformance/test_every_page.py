"""Every page in configs/, made small: it parses, divides over ranks, and plays; and its game keeps what games promise.

A new page is covered the day it appears, and through it the game and the networks it names.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from biggan_scale.config import RunConfig, load_config, micro_batches, pages
from biggan_scale.config.component import Reference
from biggan_scale.dist import process_group
from biggan_scale.engine import checkpoint
from biggan_scale.engine.loop import Engine, build_game
from biggan_scale.engine.optim import player_parameters
from biggan_scale.nn.sync_norm import BatchNorm
from support.ranks import run_ranks
from support.tiny import assert_same, made_up_batch, play, played, shrink

PAGES = [pages.FOLDER / f"{name}.yaml" for name in pages.names() if not name.startswith("base/")]
GAMES = set(Reference("games", "").choices())
CPU = torch.device("cpu")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)


def small(page: Path, **changes: object) -> RunConfig:
    return shrink(load_config(str(page)).config, **{"batch_size": 4, "micro_batch": None, "precision": "fp64", **changes})


def has_batch_norm(config: RunConfig) -> bool:
    return any(isinstance(module, BatchNorm) for module in build_game(config, CPU).modules())


def test_every_game_has_a_page() -> None:
    assert {load_config(str(page)).config.game.type for page in PAGES} == GAMES


@every_page
def test_page_divides_over_1_and_8_ranks(page: Path) -> None:
    config = load_config(str(page)).config
    for world in (1, 8):
        micro, number = micro_batches(config, world)
        assert micro * number * world == config.batch_size


@every_page
def test_page_plays_two_rounds_in_its_own_precision(page: Path) -> None:
    engine = Engine(small(page, precision=load_config(str(page)).config.precision), CPU)
    for stats in play(engine, 2):
        assert all(value.isfinite() for name, value in stats.items() if not name.endswith("grad_norm"))


@every_page
def test_players_are_disjoint_and_cover_all_parameters(page: Path) -> None:
    game = build_game(small(page), CPU)
    owned = [name for parameters in player_parameters(game).values() for name in parameters]
    assert sorted(owned) == sorted(name for name, _ in game.named_parameters())


@every_page
def test_every_buffer_is_saved(page: Path) -> None:
    game = build_game(small(page), CPU)
    assert {name for name, _ in game.named_buffers()} <= game.state_dict().keys()


@every_page
def test_move_changes_only_its_player(page: Path) -> None:
    engine = Engine(small(page), CPU)
    play(engine, 1)  # optimizer moments exist
    names = player_parameters(engine.game)
    for move in engine.game.moves(engine.clock):
        before = {name: p.clone() for name, p in engine.game.named_parameters()}
        engine.mover.play(move, [made_up_batch(engine.config, *next(engine.ranges()), engine.precision.dtype)])
        changed = {name for name, p in engine.game.named_parameters() if not torch.equal(p, before[name])}
        assert changed
        assert changed <= names[move.player].keys()


@every_page
def test_resume_is_bitwise_the_uninterrupted_run(page: Path, tmp_path: Path) -> None:
    config = small(page)
    first = Engine(config, CPU)
    play(first, 2)
    path = checkpoint.save(tmp_path, first.state_dict(), {})
    second = Engine(dataclasses.replace(config), CPU)
    second.load_state_dict(checkpoint.load(path))
    play(second, 2)
    assert_same(second.state_dict(), played(config, 4))


@every_page
def test_accumulation_equals_the_whole_batch(page: Path) -> None:
    config = small(page)
    if has_batch_norm(config):
        pytest.skip("batch norm sees micro-batches: accumulation is not neutral for it, by definition")
    assert_same(played(dataclasses.replace(config, micro_batch=2), 2), played(config, 2), atol=1e-9)


def test_two_ranks_equal_one(tmp_path: Path) -> None:
    run_ranks(2, save_after_two_rounds, [str(page) for page in PAGES], str(tmp_path))
    for page in PAGES:
        of_rank = [checkpoint.load(next((tmp_path / str(rank) / page.stem).glob("*-kimg"))) for rank in range(2)]
        assert_same(of_rank[0], of_rank[1])
        config = small(page)
        # A bias before a batch norm has no gradient but rounding errors, which Adam scales up by lr / eps.
        assert_same(of_rank[0], played(config, 2), atol=1e-8 if has_batch_norm(config) else 1e-9)


def save_after_two_rounds(names: list[str], folder: str) -> None:
    for name in names:
        page = Path(name)
        checkpoint.save(Path(folder) / str(process_group.rank()) / page.stem, played(small(page), 2), {})
