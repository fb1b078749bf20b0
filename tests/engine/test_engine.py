"""What a round does, on a tiny BigGAN in float64."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from biggan_scale.config import Duration, EmaConfig
from biggan_scale.config.errors import CheckpointError
from biggan_scale.dist.seeds import Noise
from biggan_scale.engine.ema import Ema
from biggan_scale.engine.loop import Engine
from biggan_scale.engine.moves import Outcome
from biggan_scale.games.base import Clock
from support.tiny import assert_same, made_up_batch, play, played, tiny_config

CPU = torch.device("cpu")


def test_clock_counts_the_images_of_every_move_of_d() -> None:
    engine = Engine(tiny_config(), CPU)
    play(engine, 3)
    assert engine.clock == Clock(nimg=3 * 2 * 8, round=3)


def test_same_config_same_weights() -> None:
    assert_same(played(tiny_config(), 2), played(tiny_config(), 2))


def test_another_seed_is_another_run() -> None:
    a, b = played(tiny_config(), 1), played(tiny_config("seed=1"), 1)
    assert not torch.equal(a.model["G.linear.parametrizations.weight.original"], b.model["G.linear.parametrizations.weight.original"])


def test_first_step_is_the_one_written_by_hand() -> None:
    """D's first move against a step without engine: same noise, hinge, Adam's first update lr * g / (|g| + eps)."""
    config = tiny_config("game.d_steps=1", "game.orthogonal=0")
    engine, reference = Engine(config, CPU), Engine(config, CPU)
    batch = made_up_batch(config, 0, 8, torch.float64)
    engine.mover.optimizers["D"].set_time(0, 8)
    engine.mover.play(engine.game.moves(engine.clock)[0], [batch])

    from biggan_scale.nn import spectral_norm

    game = reference.game
    spectral_norm.refresh(game)
    game.D.requires_grad_(True)
    noise = Noise(config.seed, range(8), "D", CPU, torch.float64)
    z, y = noise.normal(16), noise.integers(5)
    with torch.no_grad():
        fake = game.G(z, y)
    loss = (1 - game.D(batch.images, batch.labels)).relu().mean() + (1 + game.D(fake, y)).relu().mean()
    loss.backward()
    for (name, p), q in zip(game.D.named_parameters(), engine.game.D.parameters(), strict=True):
        expected = p - 4e-4 * p.grad / (p.grad.abs() + 1e-8)
        torch.testing.assert_close(q, expected, rtol=0, atol=1e-9, msg=name)


def test_orthogonal_regularisation_reaches_g_only() -> None:
    with_it, without = (played(tiny_config("game.d_steps=1", f"game.orthogonal={s}"), 1).model for s in (0.1, 0))
    changed = {name for name in with_it if not torch.equal(with_it[name], without[name])}
    assert changed and all(name.startswith("G.") for name in changed)
    assert not any("embed" in name for name in changed)


def test_non_finite_batch_takes_no_step_and_leaves_no_trace() -> None:
    engine = Engine(tiny_config(), CPU)
    play(engine, 1)
    before = {name: tensor.clone() for name, tensor in engine.game.state_dict().items()}
    batch = made_up_batch(engine.config, 16, 24, torch.float64)
    batch.images[3, 0, 5, 5] = math.nan
    move = engine.game.moves(engine.clock)[0]
    _, outcome = engine.mover.play(move, [batch])
    assert outcome is Outcome.NOT_FINITE
    for name, tensor in engine.game.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_bad_rounds_are_counted_in_a_row() -> None:
    engine = Engine(tiny_config("game.d_steps=1"), CPU)
    bad = made_up_batch(engine.config, 0, 8, torch.float64)
    bad.images[0] = math.inf
    for count in (1, 2):
        engine.round([[bad]])
        assert engine.bad_rounds == count
    play(engine, 1)
    assert engine.bad_rounds == 0


def test_overflow_in_half_precision_lowers_the_scale_and_is_not_a_bad_round() -> None:
    engine = Engine(tiny_config("precision=fp16"), CPU)
    play(engine, 3)
    assert engine.bad_rounds == 0
    assert all(scale["scale"] < 65536 for scale in engine.precision.state_dict().values())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_resumes_bitwise(precision: str) -> None:
    config = tiny_config(f"precision={precision}")
    first, second = Engine(config, CPU), Engine(config, CPU)
    play(first, 2)
    second.load_state_dict(snapshot_of(first))
    play(second, 1)
    play(first, 1)
    assert_same(first.state_dict(), second.state_dict())


def test_bf16_is_near_fp32() -> None:
    losses = {p: play(Engine(tiny_config(f"precision={p}"), CPU), 1)[0] for p in ("fp32", "bf16")}
    for name in ("D/loss", "G/loss"):
        assert losses["bf16"][name].item() == pytest.approx(losses["fp32"][name].item(), rel=0.05)


def test_learning_rate_follows_the_clock() -> None:
    engine = Engine(tiny_config("optim.G.lr={from: 1e-3, to: 0, end: 32 img}"), CPU)
    seen = []
    for _ in range(3):
        play(engine, 1)
        seen.append(engine.optimizers["G"].adam.param_groups[0]["lr"])
    assert seen == pytest.approx([1e-3, 5e-4, 0.0])


def test_gradient_is_clipped_to_the_configured_norm() -> None:
    engine = Engine(tiny_config("optim.D.clip_grad_norm=0.5"), CPU)
    optimizer = engine.optimizers["D"]
    for parameter in optimizer.parameters.values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.clip(optimizer.grad_norm())
    assert optimizer.grad_norm().item() == pytest.approx(0.5, rel=1e-6)


# EMA


def test_ema_is_the_closed_form() -> None:
    engine = Engine(tiny_config("ema.decay=0.5"), CPU)
    name = "G.output.parametrizations.weight.original"
    expected = engine.ema.average[name].clone()
    for _ in range(3):
        play(engine, 1)
        expected = 0.5 * expected + 0.5 * engine.game.state_dict()[name]
    torch.testing.assert_close(engine.ema.average[name], expected)


def test_ema_copies_until_its_start() -> None:
    engine = Engine(tiny_config("ema.start=32 img", "ema.decay=0.9"), CPU)
    live = engine.game.state_dict()["G.linear.bias"]
    play(engine, 1)
    assert torch.equal(engine.ema.average["G.linear.bias"], live)
    play(engine, 1)
    assert not torch.equal(engine.ema.average["G.linear.bias"], live)


@pytest.mark.parametrize(
    ("config", "nimg", "beta"),
    [
        (EmaConfig(decay=0.999), 100, 0.999),
        (EmaConfig(decay=None, half_life=Duration(10, "kimg")), 50_000, 0.5 ** (100 / 10_000)),
        (EmaConfig(decay=None, half_life=Duration(10, "kimg"), rampup=0.05), 20_000, 0.5 ** (100 / 1000)),
        (EmaConfig(decay=0.999, start=Duration(1, "kimg")), 900, 0.0),
    ],
)
def test_ema_beta(config: EmaConfig, nimg: int, beta: float) -> None:
    ema = Ema(config, Engine(tiny_config(), CPU).game)
    assert ema.beta(nimg, images_per_round=100) == pytest.approx(beta)


@pytest.mark.parametrize("policy", ["average", "copy"])
def test_ema_buffers_follow_their_policy(policy: str) -> None:
    engine = Engine(tiny_config("ema.decay=0.5", f"ema.buffers={policy}"), CPU)
    play(engine, 2)
    name = next(n for n in engine.ema.average if n.endswith("running_mean"))
    assert torch.equal(engine.ema.average[name], engine.game.state_dict()[name]) == (policy == "copy")


def test_averaged_weights_are_applied_and_taken_back() -> None:
    engine = Engine(tiny_config(), CPU)
    play(engine, 2)
    raw = {name: tensor.clone() for name, tensor in engine.game.state_dict().items()}
    average = {name: tensor.clone() for name, tensor in engine.ema.state_dict().items()}
    with engine.ema.applied():
        inside = engine.game.state_dict()
        assert all(torch.equal(inside[name], tensor) for name, tensor in average.items())
    assert all(torch.equal(tensor, raw[name]) for name, tensor in engine.game.state_dict().items())
    assert all(torch.equal(engine.ema.state_dict()[name], tensor) for name, tensor in average.items())


# state that does not fit


def test_checkpoint_of_another_architecture_is_refused_by_name() -> None:
    with pytest.raises(CheckpointError, match=r"model\.safetensors does not fit the config: D\."):
        Engine(tiny_config(), CPU).load_state_dict(played(tiny_config("game.discriminator.channels=8"), 1))


@pytest.mark.parametrize("part", ["model", "ema", "optim"])
def test_missing_tensor_is_refused_by_name(part: str) -> None:
    state = played(tiny_config(), 1)
    lost = next(iter(getattr(state, part)))
    damaged = dataclasses.replace(state, **{part: {n: t for n, t in getattr(state, part).items() if n != lost}})
    with pytest.raises(CheckpointError, match=part):
        Engine(tiny_config(), CPU).load_state_dict(damaged)


def snapshot_of(engine: Engine) -> object:
    state = engine.state_dict()
    parts = {part: {n: t.clone() for n, t in getattr(state, part).items()} for part in ("model", "ema", "optim")}
    return dataclasses.replace(state, **parts)
