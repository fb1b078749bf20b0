"""The terms of StyleGAN2's moves on networks whose answers are known, its schedule, and the state that it carries."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from biggan_scale.config import ConfigError, RunConfig, load_config
from biggan_scale.dist.seeds import Noise
from biggan_scale.engine import checkpoint
from biggan_scale.engine.loop import Engine
from biggan_scale.games.base import Batch, Clock, Move
from biggan_scale.nn.gaussian_blur import gaussian_blur
from support.tiny import assert_same, made_up_batch, play, played, shrink

CPU = torch.device("cpu")


def config(*overrides: str, **changes: Any) -> RunConfig:
    page = load_config("stylegan2_tiny", list(overrides)).config
    return shrink(page, **{"batch_size": 4, "micro_batch": None, "precision": "fp64", **changes})


def game(*overrides: str) -> Any:
    return Engine(config(*overrides), CPU).game


def a_batch(settings: RunConfig, start: int = 0, stop: int = 4) -> Batch:
    return made_up_batch(settings, start, stop, torch.float64)


def named(game: Any, name: str) -> Move:
    return next(move for move in game.moves(Clock()) if move.name == name)


def test_the_schedule_is_lazy() -> None:
    moves = game().moves(Clock())
    assert [(m.name, m.player, m.every, m.partial) for m in moves] == [
        ("D", "D", 1, False),
        ("D_r1", "D", 16, True),
        ("G", "G", 1, False),
        ("G_path", "G", 4, True),
    ]
    assert [m.name for m in game("game.r1=0", "game.path_length=0").moves(Clock())] == ["D", "G"]


def test_optimizers_are_corrected_for_lazy_moves_by_the_papers_figures() -> None:
    """1912.04958, appendix B: c = k / (k + 1), lr c and beta^c, for the paper's 0.002, 0.99 and k = 16, 4."""
    optimizers = Engine(config("optim.G.lr=2e-3", "optim.D.lr=2e-3"), CPU).optimizers
    assert optimizers["D"].set_time(0, 1) == pytest.approx(2e-3 * 16 / 17) == pytest.approx(1.882353e-3)
    assert optimizers["G"].set_time(0, 1) == pytest.approx(1.6e-3)
    assert optimizers["D"].config.betas == pytest.approx((0, 0.990586), abs=1e-6)
    assert optimizers["G"].config.betas == pytest.approx((0, 0.991992), abs=1e-6)
    assert optimizers["D"].adam.param_groups[0]["betas"] == optimizers["D"].config.betas
    plain = Engine(config("game.r1=0", "game.path_every=9", "optim.D.lr=2e-3"), CPU).optimizers
    assert plain["D"].set_time(0, 1) == 2e-3 and plain["D"].config.betas == (0.0, 0.99)
    assert plain["G"].config.betas[1] == pytest.approx(0.99**0.9)


def test_r1_is_half_gamma_times_the_rounds_times_the_squared_gradient() -> None:
    settings = config("game.r1=3")
    subject = Engine(settings, CPU).game
    slope = torch.randn(3 * 32 * 32, dtype=torch.float64)
    subject.score = lambda images, labels, uniforms: images.flatten(1) @ slope  # D(x) = <a, x>
    terms = subject.loss(named(subject, "D_r1"), a_batch(settings), {})
    torch.testing.assert_close(terms.loss["r1"], 3 / 2 * 16 * slope.square().sum())
    torch.testing.assert_close(terms.watch["gradient"], slope.norm())


def test_r1_in_every_round_is_a_term_of_the_plain_move() -> None:
    settings = config("game.r1=3", "game.r1_every=1", "game.path_length=0")
    engine = Engine(settings, CPU)
    subject, slope = engine.game, torch.randn(3 * 32 * 32, dtype=torch.float64)
    assert [(m.name, m.partial) for m in subject.moves(Clock())] == [("D", False), ("G", False)]
    assert engine.optimizers["D"].config.betas == (0.0, 0.99)  # no extra step, nothing to correct
    subject.score = lambda images, labels, uniforms: images.flatten(1) @ slope
    move, batch = named(subject, "D"), a_batch(settings)
    terms = subject.loss(move, batch, subject.draw(move, batch, Noise(0, batch.positions, "D", dtype=torch.float64)))
    torch.testing.assert_close(terms.loss["r1"], 3 / 2 * slope.square().sum())


def test_images_need_not_be_square() -> None:
    engine = Engine(config("data.resolution=[16, 32]", "game.r1_every=2"), CPU)
    play(engine, 1)
    images = engine.game.generate(engine.game.latents(Noise(0, range(2), "x", dtype=torch.float64)))
    assert images.shape == (2, 3, 16, 32) and images.isfinite().all()


def test_r1_by_finite_differences_is_near_the_exact_one() -> None:
    """D is nearly linear over a small step: the mean over many steps is within 5 standard errors of the exact penalty."""
    settings = config("game.r1_sigma=1e-4")
    subject = Engine(settings, CPU).game
    batch, move = a_batch(settings), named(subject, "D_r1")
    noises = [Noise(seed, batch.positions, move.name, dtype=torch.float64) for seed in range(60)]
    with torch.no_grad():
        values = torch.stack([subject.loss(move, batch, subject.draw(move, batch, noise)).loss["r1"] for noise in noises])
    exact = Engine(config(), CPU).game
    expected = exact.loss(move, batch, {}).loss["r1"]
    assert (values.mean() - expected).abs() < 5 * values.std() / 60**0.5


def test_path_length_penalises_the_distance_to_the_running_mean() -> None:
    settings = config("game.path_decay=0.25")
    engine = Engine(settings, CPU)
    subject, move, batch = engine.game, named(engine.game, "G_path"), a_batch(settings)
    subject.path_mean.fill_(0.3)
    subject.G.requires_grad_(True)
    terms = subject.loss(move, batch, subject.draw(move, batch, Noise(0, batch.positions, "G_path", dtype=torch.float64)))
    length = terms.watch["length"]
    assert length > 0
    # Two of four images are measured; (l - a)^2 = (mean l - a)^2 + variance of l.
    assert terms.loss["path_length"] >= 2 * 4 * (length - 0.3).square() * (1 - 1e-9)
    subject.after_round({"G_path/length": length.detach()}, Clock())
    torch.testing.assert_close(subject.path_mean, 0.75 * torch.tensor(0.3, dtype=torch.float64) + 0.25 * length.detach())


def test_mixing_gives_late_layers_the_second_w() -> None:
    settings = config("game.mixing=1")
    subject, batch = Engine(settings, CPU).game, a_batch(settings, 0, 64)
    draw = subject.draw(named(subject, "G"), batch, Noise(0, batch.positions, "G", dtype=torch.float64))
    ws, first = subject.styles(draw), subject.G.mapping(draw["z"], draw["y"])
    second = subject.G.mapping(draw["z2"], draw["y"])
    assert draw["crossover"].min() == 1 and draw["crossover"].max() == subject.G.num_ws - 1
    for i, crossover in enumerate(draw["crossover"].tolist()):
        assert torch.equal(ws[i, :crossover], first[i].expand(crossover, -1))
        assert torch.equal(ws[i, crossover:], second[i].expand(subject.G.num_ws - crossover, -1))
    crossovers = subject.draw(named(subject, "G"), batch, Noise(0, batch.positions, "G"))["crossover"]
    assert torch.equal(crossovers, draw["crossover"])  # of the positions, whatever the precision


def test_the_share_of_mixed_images_is_the_probability() -> None:
    settings = config("game.mixing=0.25")
    subject = Engine(settings, CPU).game
    batch = dataclasses.replace(a_batch(settings), positions=tuple(range(800)), labels=torch.zeros(800, dtype=torch.int64))
    subject.G.num_noise = 0
    crossover = subject.draw(named(subject, "G"), batch, Noise(0, batch.positions, "G"))["crossover"]
    share = (crossover < subject.G.num_ws).double().mean().item()
    assert share == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / 800) ** 0.5)


def test_the_mean_of_w_takes_one_step_a_round_whatever_the_accumulation() -> None:
    means = []
    for micro in (4, 2):
        engine = Engine(config("game.w_decay=0.5", micro_batch=micro), CPU)
        before = engine.game.G.w_avg.clone()
        play(engine, 1)
        means.append(engine.game.G.w_avg.clone())
        assert not torch.equal(means[-1], before) and not engine.game.seen.count.any()
    torch.testing.assert_close(means[0], means[1], rtol=0, atol=1e-12)


def alias_free(*overrides: str, **changes: Any) -> RunConfig:
    page = load_config("stylegan3_tiny", list(overrides)).config
    return shrink(page, **{"batch_size": 4, "micro_batch": None, "precision": "fp64", **changes})


def test_magnitudes_take_one_step_a_round_by_the_images_it_generates() -> None:
    """A half-life of 4 images and a batch of 4: half of what the G move's inputs were, whatever the accumulation."""
    after = []
    for micro in (4, 2):
        engine = Engine(alias_free("game.magnitude_kimg=0.004", micro_batch=micro), CPU)
        seen, observed = [], engine.game.G.observed
        engine.game.G.observed = lambda ws, noise, observed=observed, seen=seen: seen.append(observed(ws, noise)) or seen[-1]
        before = engine.game.G.magnitudes.clone()
        play(engine, 1)
        squares = torch.cat([squares for _, squares in seen])
        assert len(squares) == 4 and not engine.game.seen.count.any()
        torch.testing.assert_close(engine.game.G.magnitudes, (before + squares.mean(0)) / 2)
        after.append(engine.game.G.magnitudes.clone())
    torch.testing.assert_close(after[0], after[1], rtol=0, atol=1e-12)
    assert (after[0] - 1).abs().min() > 1e-3


def test_generating_leaves_magnitudes_alone() -> None:
    engine = Engine(alias_free(), CPU)
    play(engine, 1)
    subject = engine.game
    before = {name: buffer.clone() for name, buffer in subject.named_buffers()}
    subject.generate(subject.latents(Noise(0, range(3), "x", dtype=torch.float64)))
    assert all(torch.equal(buffer, before[name]) for name, buffer in subject.named_buffers())


def test_d_sees_images_through_a_blur_that_fades() -> None:
    subject = Engine(alias_free("game.blur={from: 10, to: 0, end: 200 kimg}"), CPU).game
    for nimg, sigma in ((0, 10.0), (50_000, 7.5), (200_000, 0.0), (10**6, 0.0)):
        subject.before_round(Clock(nimg=nimg))
        assert subject.blur == pytest.approx(sigma)
    seen = []
    for overrides in ("game.blur=0", "game.blur=2"):
        subject = Engine(alias_free(overrides), CPU).game
        subject.D.forward = lambda images, labels: seen.append(images) or images.mean((1, 2, 3))
        batch = a_batch(alias_free())
        for move in subject.moves(Clock()):
            draw = subject.draw(move, batch, Noise(0, batch.positions, move.name, dtype=torch.float64))
            subject.loss(move, batch, draw)
    assert len(seen) == 8  # real, fake, R1, G's
    for sharp, blurred in zip(seen[:4], seen[4:], strict=True):
        torch.testing.assert_close(blurred, gaussian_blur(sharp, 2.0))
    with pytest.raises(ConfigError, match="blur must not be negative, and is scheduled by images"):
        alias_free("game.blur={from: 1, to: 0, end: 9 rounds}")


def test_stylegan3_has_no_lazy_move_of_g_and_its_optimizer_is_not_corrected() -> None:
    engine = Engine(alias_free(), CPU)
    assert [move.name for move in engine.game.moves(Clock())] == ["D", "D_r1", "G"]
    assert engine.optimizers["G"].set_time(0, 1) == 2.5e-3 and engine.optimizers["G"].config.betas == (0.0, 0.99)
    assert engine.optimizers["D"].set_time(0, 1) == pytest.approx(2e-3 * 16 / 17)


def test_truncation_moves_towards_the_mean_and_1_changes_nothing() -> None:
    engine = Engine(config(), CPU)
    play(engine, 2)
    subject = engine.game.eval()

    def images(truncation: float | None) -> torch.Tensor:
        return subject.generate(
            subject.latents(Noise(0, range(3), "x", dtype=torch.float64), torch.zeros(3, dtype=torch.int64), truncation)
        )

    torch.testing.assert_close(images(1.0), images(None))
    torch.testing.assert_close(images(1e-9)[0], images(1e-9)[1], rtol=0, atol=1e-6)  # the mean image
    assert (images(0.5)[0] - images(0.5)[1]).abs().max() < (images(None)[0] - images(None)[1]).abs().max()


@pytest.mark.parametrize(
    "overrides", [(), ("game.r1_sigma=0.01", "game.augment={type: ada, p: 0.5}"), ("game.path_shrink=1", "data.num_classes=0")], ids=str
)
def test_accumulation_and_resume_hold_for_its_options_and_its_state(overrides: tuple[str, ...], tmp_path: Any) -> None:
    settings = config(*overrides, "game.r1_every=2", "game.path_every=2")
    whole = played(settings, 3)
    assert float(whole.model["path_mean"]) > 0 and whole.model["G.w_avg"].any()
    assert_same(played(dataclasses.replace(settings, micro_batch=2), 3), whole, atol=1e-9)
    first = Engine(settings, CPU)
    play(first, 1)  # between two lazy moves
    path = checkpoint.save(tmp_path, first.state_dict(), {})
    second = Engine(settings, CPU)
    second.load_state_dict(checkpoint.load(path))
    play(second, 2)
    assert_same(second.state_dict(), whole)


def test_p_moves_with_the_signs_of_real_scores_and_a_resume_between_adjustments_changes_nothing(tmp_path: Any) -> None:
    settings = config("game.augment={type: ada, p: 0.5, kimg: 0.1, every: 2}")
    whole = played(settings, 6)
    assert float(whole.model["augment.p"]) != 0.5
    first = Engine(settings, CPU)
    play(first, 3)
    path = checkpoint.save(tmp_path, first.state_dict(), {})
    second = Engine(settings, CPU)
    second.load_state_dict(checkpoint.load(path))
    play(second, 3)
    assert_same(second.state_dict(), whole)
    assert_same(played(dataclasses.replace(settings, micro_batch=2), 6), whole, atol=1e-8)


@pytest.mark.slow  # torch.compile calls a C++ compiler for a minute or more
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("page", "option", "name", "more"),
    [("stylegan2_tiny", "compile_r1", "D_r1", ["game.discriminator.mbstd_group=2"]), ("r3gan_tiny", "compile_penalties", "D", [])],
)
def test_compiled_penalties_have_the_terms_and_gradients_of_the_others(page: str, option: str, name: str, more: list[str]) -> None:
    """Through augmentation and projection, and in StyleGAN2's through minibatch deviation."""
    found = []
    for value in ("false", "true"):
        changes = [f"game.{option}={value}", "game.augment={type: ada, p: 0.7}", *more]
        settings = shrink(load_config(page, changes).config, batch_size=4, precision="fp64")
        subject, batch = Engine(settings, CPU).game, a_batch(settings)
        move = named(subject, name)
        subject.D.requires_grad_(True)
        draw = subject.draw(move, batch, Noise(0, batch.positions, name, dtype=torch.float64))
        terms = subject.loss(move, batch, draw).loss
        torch.stack(list(terms.values())).sum().backward()
        gradients = {f"grad/{key}": p.grad for key, p in subject.D.named_parameters() if p.grad is not None}
        found.append({key: value.detach() for key, value in terms.items()} | gradients)
    assert found[0].keys() == found[1].keys() and len(found[0]) > 10
    for key, expected in found[0].items():
        torch.testing.assert_close(
            found[1][key], expected, rtol=0, atol=1e-9 * float(expected.abs().max()), msg=lambda m, k=key: f"{k}: {m}"
        )
