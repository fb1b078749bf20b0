from __future__ import annotations

import dataclasses

import pytest
import torch

from biggan_scale.config import ConfigError, load_config
from biggan_scale.dist.seeds import Noise
from biggan_scale.engine.loop import build_game
from biggan_scale.games.base import Clock
from biggan_scale.losses import relativistic
from support.tiny import assert_same, made_up_batch, played, shrink


def test_pairing_is_softplus_of_the_difference() -> None:
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 1.0])
    torch.testing.assert_close(relativistic.discriminator(real, fake), (1 + (fake - real).exp()).log())
    torch.testing.assert_close(relativistic.generator(real, fake), (1 + (real - fake).exp()).log())
    shifted = relativistic.discriminator(real + 7, fake + 7)
    torch.testing.assert_close(shifted, relativistic.discriminator(real, fake))  # only the difference counts


def test_terms_of_a_linear_discriminator_are_the_closed_forms() -> None:
    """D(x) = <a, x>: R1 = R2 = |a|^2."""
    config = shrink(load_config("r3gan_tiny", ["game.gamma=0.3", "game.augment=null"]).config, precision="fp64", batch_size=4)
    game = build_game(config, torch.device("cpu")).double()
    slope = torch.randn(3 * 32 * 32, dtype=torch.float64) / 50
    game.judge = lambda view, labels: view.flatten(1) @ slope  # type: ignore[assignment]
    batch = made_up_batch(config, 0, 4, torch.float64)
    D, G = game.moves(Clock())
    draw = game.draw(D, batch, Noise(0, batch.positions, "D", dtype=torch.float64))
    real, fake = batch.images.flatten(1) @ slope, game.generate(draw).flatten(1) @ slope
    terms = game.loss(D, batch, draw).loss
    for name in ("r1", "r2"):
        torch.testing.assert_close(terms[name], 0.15 * slope.square().sum())
    torch.testing.assert_close(terms["adversarial"], torch.nn.functional.softplus(fake - real).mean())
    torch.testing.assert_close(game.loss(G, batch, draw).loss["adversarial"], torch.nn.functional.softplus(real - fake).mean())


def test_gamma_follows_its_schedule() -> None:
    config = shrink(load_config("r3gan_tiny", ["game.gamma={from: 0.4, to: 0.2, end: 100 img}"]).config, batch_size=4)
    game, batch = build_game(config, torch.device("cpu")), made_up_batch(config, 0, 4, torch.float32)
    D, _ = game.moves(Clock())
    draw = game.draw(D, batch, Noise(0, batch.positions, "D"))
    found = []
    for nimg in (0, 50, 100):
        game.before_round(Clock(nimg, nimg))
        found.append(game.loss(D, batch, draw).loss["r1"].detach())
    torch.testing.assert_close(torch.stack(found) / found[0], torch.tensor([1.0, 0.75, 0.5]))


def test_penalties_by_finite_differences_are_exact_on_a_linear_discriminator() -> None:
    """The estimate of |a|^2 over a step e is <a, e>^2, whatever the size of the step; real and generated images have their own."""
    overrides = ["game.gamma=2", "game.sigma=0.1", "game.augment=null"]
    config = shrink(load_config("r3gan_tiny", overrides).config, precision="fp64", batch_size=4)
    game, batch = build_game(config, torch.device("cpu")).double(), made_up_batch(config, 0, 4, torch.float64)
    slope = torch.randn(3 * 32 * 32, dtype=torch.float64)
    game.judge = lambda view, labels: view.flatten(1) @ slope  # type: ignore[assignment]
    D, G = game.moves(Clock())
    draw = game.draw(D, batch, Noise(0, batch.positions, "D", dtype=torch.float64))
    terms = game.loss(D, batch, draw).loss
    for name, step in (("r1", "step_real"), ("r2", "step_fake")):
        torch.testing.assert_close(terms[name], (draw[step].flatten(1) @ slope).square().mean())
    assert not torch.equal(draw["step_real"], draw["step_fake"])
    assert not [name for name in game.draw(G, batch, Noise(0, batch.positions, "G")) if name.startswith("step")]


def test_accumulation_is_neutral_to_finite_differences() -> None:
    config = shrink(load_config("r3gan_tiny", ["game.sigma=0.1"]).config, precision="fp64", batch_size=4)
    assert_same(played(dataclasses.replace(config, micro_batch=2), 2), played(config, 2), atol=1e-8)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["game.gamma=-1"], r"gamma -1\.0 must not be negative"),
        (["game.gamma={from: 1, to: 0, end: 5 rounds}"], "gamma is scheduled by images"),
        (["game.sigma=0"], r"sigma 0\.0 must be above 0"),
        (["game.sigma=1", "game.compile_penalties=true"], "one of them"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("r3gan_tiny", overrides)
