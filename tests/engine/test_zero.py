"""Under ZeRO every rank keeps a part of the moments, and nothing else is different: weights, checkpoints and errors are those of DDP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from biggan_scale.config import RunConfig, load_config
from biggan_scale.config.errors import CheckpointError
from biggan_scale.dist import process_group
from biggan_scale.engine import checkpoint
from biggan_scale.engine.agreement import check_ranks_agree
from biggan_scale.engine.loop import Engine
from biggan_scale.engine.plan import make_plan
from support.ranks import run_ranks
from support.tiny import assert_same, play, shrink, tiny_config

CPU = torch.device("cpu")
GAMES = {
    "biggan": lambda *more: tiny_config("precision=fp32", "optim.D.clip_grad_norm=1", *more),
    "half precision": lambda *more: tiny_config("precision=fp16", *more),
    "accumulation": lambda *more: tiny_config("micro_batch=2", *more),
    "partial moves": lambda *more: shrink(load_config("stylegan2_tiny", ["game.r1_every=2", "game.path_every=3", *more]).config),
}


def tiny_state(parallel: str, rounds: int, folder: str, resume: str | None = None) -> dict[str, Any]:
    return state(tiny_config(f"parallel={parallel}"), rounds, folder, resume)


def state(config: RunConfig, rounds: int, folder: str, resume: str | None = None) -> dict[str, Any]:
    """Play and save: where, the digest of the state, and the parameters whose moments this rank keeps."""
    engine = Engine(config, CPU)
    if resume is not None:
        engine.load_state_dict(checkpoint.load(Path(resume)))
    play(engine, rounds)
    check_ranks_agree(engine.game, "after the last round")
    whole = engine.state_dict()
    if process_group.rank() == 0:
        for player in engine.optimizers:
            steps = [float(v) for name, v in whole.optim.items() if name.startswith(f"{player}/") and name.endswith("/step")]
            assert max(steps) > 0, f"{player} has never stepped, so nothing would be shown"
    names = {f"{player}/{name}" for player, optimizer in engine.optimizers.items() for name in optimizer.moments}
    if process_group.rank() == 0:
        path = checkpoint.save(Path(folder), whole, {})
        return {"path": str(path), "sha256": checkpoint.manifest_of(path)["state_sha256"], "kept": names}
    return {"kept": names}


def quick(folder: str) -> dict[str, Any]:
    """What the quick tests ask of two ranks: starting processes costs more than all of it."""
    return {"states": zero_and_ddp("partial moves", folder), "refusal": load_another(folder), "bytes": kept_bytes()}


def zero_and_ddp(game: str, folder: str) -> list[dict[str, Any]]:
    rounds = 12 if game == "half precision" else 4  # the first rounds overflow, until the scale has come down
    return [state(GAMES[game](f"parallel={parallel}"), rounds, f"{folder}/{game}-{parallel}") for parallel in ("zero", "ddp")]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return run_ranks(2, quick, str(tmp_path_factory.mktemp("zero")))


def test_state_is_that_of_ddp_bit_for_bit(ranks: list[dict[str, Any]]) -> None:
    assert_ddp_is_matched(*(of_rank["states"] for of_rank in ranks))


@pytest.mark.slow  # processes are started for each
@pytest.mark.parametrize("game", [game for game in GAMES if game != "partial moves"])
def test_state_is_that_of_ddp_in_other_games(game: str, tmp_path: Path) -> None:
    assert_ddp_is_matched(*run_ranks(2, zero_and_ddp, game, str(tmp_path)))


def assert_ddp_is_matched(of_first: list[dict[str, Any]], of_second: list[dict[str, Any]]) -> None:
    (zero, ddp), (zero_of_second, ddp_of_second) = of_first, of_second
    assert zero["sha256"] == ddp["sha256"]
    assert ddp["kept"] == ddp_of_second["kept"], "under DDP every rank keeps all moments"
    assert zero["kept"] | zero_of_second["kept"] == ddp["kept"]
    assert not zero["kept"] & zero_of_second["kept"], "a parameter's moments are kept twice"


def half_and_on(folder: str) -> list[str]:
    """Stopped in the middle and resumed under either, from either."""
    ends = []
    for first in ("zero", "ddp"):
        path = process_group.from_main(tiny_state(first, 2, f"{folder}/{first}").get("path"))
        for second in ("zero", "ddp"):
            ends.append(tiny_state(second, 3, f"{folder}/{first}-{second}", path).get("sha256", ""))
    return [*ends, tiny_state("zero", 5, f"{folder}/undisturbed").get("sha256", "")]


@pytest.mark.slow
def test_run_goes_on_under_another_strategy_as_if_nothing_had_happened(tmp_path: Path) -> None:
    ends, _ = run_ranks(2, half_and_on, str(tmp_path))
    assert len(ends) == 5
    assert len(set(ends)) == 1


@pytest.mark.slow  # three times processes are started
def test_run_goes_on_with_another_number_of_ranks(tmp_path: Path) -> None:
    first, _ = run_ranks(2, tiny_state, "zero", 2, str(tmp_path / "two"))
    alone = tiny_state("zero", 3, str(tmp_path / "alone"), first["path"])
    of_four, *_ = run_ranks(4, tiny_state, "zero", 3, str(tmp_path / "four"), first["path"])
    assert_same(checkpoint.load(Path(alone["path"])), checkpoint.load(Path(of_four["path"])), atol=1e-8)


def load_another(folder: str) -> str:
    path = process_group.from_main(tiny_state("zero", 1, f"{folder}/another").get("path"))
    engine = Engine(tiny_config("parallel=zero", "game.discriminator.channels=8"), CPU)
    saved = checkpoint.load(Path(path))
    saved.model, saved.ema = engine.game.state_dict(), engine.ema.state_dict()
    try:
        engine.load_state_dict(saved)
    except CheckpointError as error:
        return str(error)
    return ""


def test_moments_that_do_not_fit_are_refused_on_all_ranks(ranks: list[dict[str, Any]]) -> None:
    for of_rank in ranks:
        assert of_rank["refusal"].startswith("optim.safetensors does not fit the config: D/")


def kept_bytes() -> int:
    engine = Engine(tiny_config("parallel=zero"), CPU)
    moments = [moment for optimizer in engine.optimizers.values() for kept in optimizer.moments.values() for moment in kept.values()]
    return sum(t.numel() * t.element_size() for t in moments)


def test_plan_knows_what_the_fullest_rank_keeps(ranks: list[dict[str, Any]]) -> None:
    plan, of_ddp = make_plan(tiny_config("parallel=zero"), 2), make_plan(tiny_config(), 2)
    most = max(of_rank["bytes"] for of_rank in ranks)
    assert most <= plan.optimizer <= 1.02 * most
    assert plan.optimizer < 0.6 * of_ddp.optimizer
    assert plan.checkpoint == of_ddp.checkpoint
    assert of_ddp.peak - plan.peak == of_ddp.optimizer - plan.optimizer
    assert (plan.broadcast_per_round, of_ddp.broadcast_per_round) == (plan.reduced_per_round, 0)
