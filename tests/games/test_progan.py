"""Growing: when which blocks play, what fades between what, and that nothing is lost at a stage's end or in the middle of one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from biggan_scale import load
from biggan_scale.config import ConfigError, RunConfig, load_config
from biggan_scale.dist import process_group
from biggan_scale.dist.seeds import Noise
from biggan_scale.engine import checkpoint
from biggan_scale.engine.loop import Engine, build_game
from biggan_scale.engine.optim import player_parameters
from biggan_scale.engine.plan import make_plan
from biggan_scale.games.base import Clock
from biggan_scale.games.progan import growth
from biggan_scale.networks.progan import enlarge
from support.ranks import run_ranks
from support.tiny import assert_same, made_up_batch, play, played, shrink

CPU = torch.device("cpu")
ROUNDS = 9  # of `config`: two stages, and into the third


def config(*overrides: str, **changes: Any) -> RunConfig:
    """Batches of 4 at 16 px: 4 px in rounds 0 and 1, 8 px fading in from 2 to 5 and held in 6 and 7, 16 px from 8 on, alone from 11."""
    page = shrink(load_config("progan_tiny", ["data.resolution=16", *overrides]).config)
    game = dataclasses.replace(page.game, config=dataclasses.replace(page.game.config, hold_kimg=0.006, fade_kimg=0.016))
    return dataclasses.replace(page, game=game, **{"batch_size": 4, "precision": "fp64", **changes})


def a_game(grown: float) -> Any:
    game = build_game(config(), CPU).double()
    game.G.grow(grown), game.D.grow(grown)
    return game


def a_draw(game: Any, batch: Any, move: int = 0) -> Any:
    made = game.moves(Clock())[move]
    return made, game.draw(made, batch, Noise(0, batch.positions, made.name, dtype=torch.float64))


def test_growth_is_the_papers_schedule() -> None:
    """Appendix A.1: 800 kimg at 4 px, then 800 of fading and 800 of holding for each doubling."""
    kimg = {0: 0, 799: 0, 800: 0, 1000: 0.25, 1599: 0.99875, 1600: 1, 2400: 1, 2800: 1.5, 3200: 2, 4000: 2, 4799: 2.99875, 4800: 3, 9000: 3}
    assert {k: growth(k * 1000, 8e5, 8e5, num_blocks=3) for k in kimg} == pytest.approx(kimg)
    assert [growth(n, hold=10, fade=0, num_blocks=2) for n in (0, 9, 10, 19, 20, 99)] == [0, 0, 1, 1, 2, 2]
    assert [growth(n, hold=0, fade=10, num_blocks=2) for n in (0, 5, 10, 15, 20, 99)] == [0, 0.5, 1, 1.5, 2, 2]


def test_networks_of_the_paper_have_its_numbers_of_parameters() -> None:
    """Table 2: 23.1 million each."""
    with torch.device("meta"):
        game = build_game(load_config("progan_celebahq1024").config, torch.device("meta"))
    for network in (game.G, game.D):
        assert sum(p.numel() for p in network.parameters()) == pytest.approx(23.1e6, rel=2e-3)
    assert [block.first.weight.shape[0] for block in game.G.blocks] == [512, 512, 512, 256, 128, 64, 32, 16]


def test_images_blend_from_the_smaller_size_to_the_larger() -> None:
    game, batch = a_game(1.0), made_up_batch(config(), 0, 4, torch.float64)
    _, draw = a_draw(game, batch)
    small, large = game.G.images(draw["z"], draw["y"]), a_game(2.0).G.images(draw["z"], draw["y"])
    assert small.shape[2:] == (8, 8) and large.shape[2:] == (16, 16)
    game.G.grow(1.25)
    torch.testing.assert_close(game.G.images(draw["z"], draw["y"]), 0.75 * enlarge(small, 16) + 0.25 * large)
    assert game.generate(draw).shape == (4, 3, 16, 16)
    game.G.grow(0)
    tiny = game.generate(draw)
    assert torch.equal(tiny, tiny[:, :, ::4, ::4].repeat_interleave(4, 2).repeat_interleave(4, 3))


def test_scores_blend_from_those_of_the_smaller_images() -> None:
    """With no share of the new block D sees the images pooled; with all of it, through the new block only."""
    game, images = a_game(1.0), made_up_batch(config(), 0, 4, torch.float64).images
    y = torch.zeros(4, dtype=torch.int64)
    pooled = game.D(torch.nn.functional.avg_pool2d(images, 2), y)
    for share, expected in ((1e-9, pooled), (1 - 1e-9, a_game(2.0).D(images, y))):
        game.D.grow(1 + share)
        torch.testing.assert_close(game.D(images, y), expected, rtol=1e-6, atol=1e-6)


def test_real_images_are_averaged_down_and_blended() -> None:
    game, images = a_game(1.0), made_up_batch(config(), 0, 4, torch.float64).images
    eight = images.unflatten(3, (8, 2)).unflatten(2, (8, 2)).mean((3, 5))
    torch.testing.assert_close(game.at_this_size(images), eight)
    game.D.grow(1.25)
    torch.testing.assert_close(game.at_this_size(images), 0.25 * images + 0.75 * eight.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_terms_of_a_linear_discriminator_are_the_closed_forms() -> None:
    """D(x) = <a, x> has the gradient a everywhere."""
    game, batch = a_game(2.0), made_up_batch(config(), 0, 4, torch.float64)
    slope = torch.randn(3 * 16 * 16, dtype=torch.float64) / 10
    game.judge = lambda view, labels: view.flatten(1) @ slope
    move, draw = a_draw(game, batch)
    real, fake = batch.images.flatten(1) @ slope, game.generate(draw).flatten(1) @ slope
    terms = game.loss(move, batch, draw).loss
    torch.testing.assert_close(terms["distance"], (fake - real).mean())
    torch.testing.assert_close(terms["penalty"], 10 * (slope.norm() - 1).square())
    torch.testing.assert_close(terms["drift"], 0.001 * real.square().mean())
    move, draw = a_draw(game, batch, 1)
    torch.testing.assert_close(game.loss(move, batch, draw).loss["adversarial"], -(game.generate(draw).flatten(1) @ slope).mean())


def test_blocks_wait_until_they_play() -> None:
    """Weights and moments of a block are as they were made until its first image; its optimizer counts from there."""
    engine = Engine(config(), CPU)
    made = {name: p.clone() for name, p in engine.game.named_parameters()}
    steps = {"G.conv": [], "G.blocks.0.first": [], "G.blocks.1.first": [], "D.from_rgb.2": [], "G.to_rgb.0": []}
    for _ in range(12):
        play(engine, 1)
        optim = engine.state_dict().optim
        for name in steps:
            steps[name].append(int(optim[f"{name[0]}/{name}.weight/step"]))
            assert (steps[name][-1] > 0) == (not torch.equal(engine.game.get_parameter(f"{name}.weight"), made[f"{name}.weight"]))
    assert steps["G.conv"] == list(range(1, 13))
    assert steps["G.blocks.0.first"] == [0, 0, *range(1, 11)]
    assert steps["G.blocks.1.first"] == steps["D.from_rgb.2"] == [*[0] * 8, *range(1, 5)]
    assert steps["G.to_rgb.0"] == [1, 2, 3, 4, 5, 6, *[6] * 6]  # faded out


@pytest.mark.parametrize("stopped", [2, 4, 6, 7, 11])
def test_a_resume_in_a_fade_or_at_the_end_of_a_stage_changes_nothing(stopped: int, tmp_path: Path) -> None:
    settings = config()
    first = Engine(settings, CPU)
    play(first, stopped)
    path = checkpoint.save(tmp_path, first.state_dict(), {})
    second = Engine(settings, CPU)
    second.load_state_dict(checkpoint.load(path))
    play(first, 3), play(second, 3)
    assert_same(second.state_dict(), first.state_dict())


def test_two_ranks_and_accumulation_equal_one_through_all_stages(tmp_path: Path) -> None:
    whole = played(config(), ROUNDS)
    assert 1 < float(whole.model["G.growth"]) < 2
    assert_same(played(config(micro_batch=2), ROUNDS), whole, atol=1e-8)
    run_ranks(2, save_after_all_stages, str(tmp_path))
    of_rank = [checkpoint.load(next((tmp_path / str(rank)).glob("*-kimg"))) for rank in range(2)]
    assert_same(of_rank[0], of_rank[1])
    assert_same(of_rank[0], whole, atol=1e-8)


def save_after_all_stages(folder: str) -> None:
    checkpoint.save(Path(folder) / str(process_group.rank()), played(config(), ROUNDS), {})


def test_a_checkpoint_in_a_fade_is_drawn_as_it_was(tmp_path: Path) -> None:
    """By someone who knows nothing of the clock; also where buffers are averaged, and growth lags behind."""
    settings = load_config("progan_tiny", ["data.resolution=16", "ema.buffers=average"])
    engine = Engine(dataclasses.replace(settings.config, batch_size=4), CPU)
    engine.clock = Clock(80, 20)
    play(engine, 4)
    assert engine.game.G.is_fading
    path = checkpoint.save(tmp_path, engine.state_dict(), {"config": settings.tree})
    model = load(path, weights="raw")
    noise = Noise(0, range(model.chunk_size), "sample")
    draw = model.game.latents(noise)
    with torch.no_grad():
        expected = engine.game.eval().generate(draw)
    torch.testing.assert_close(model.sample(model.chunk_size), expected, rtol=0, atol=1e-5)
    assert model.sample(1).shape == (1, 3, 16, 16) and float(model.game.G.growth) == pytest.approx(float(engine.game.G.growth))
    averaged = load(path)
    assert float(averaged.game.G.growth) > 0 and averaged.sample(1).isfinite().all()


def test_a_plan_is_made_for_the_grown_networks() -> None:
    young, full = (make_plan(config(f"until={rounds} rounds"), 1) for rounds in (1, 100))
    assert full.flops_per_image > 5 * young.flops_per_image
    assert full.parameters == {player: sum(p.numel() for p in named.values()) for player, named in player_parameters(a_game(0)).items()}


def test_networks_that_cannot_grow_are_refused() -> None:
    page = load_config("progan_tiny", ["game.discriminator={type: stylegan2}"]).config
    with pytest.raises(ConfigError, match=r"game\.discriminator\.type stylegan2: this game's networks grow; allowed: progan"):
        build_game(page, CPU)
    with pytest.raises(ConfigError, match="24: ProGAN doubles 4 px; allowed: 4, 8, 16"):
        build_game(load_config("progan_tiny", ["data.resolution=24"]).config, CPU)
    with pytest.raises(ConfigError, match="must not both be 0"):
        load_config("progan_tiny", ["game.hold_kimg=0", "game.fade_kimg=0"])
