"""BigBiGAN's losses against the paper's equations, and its choices."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from biggan_scale.config import ConfigError, load_config
from biggan_scale.engine.loop import Engine, build_game
from biggan_scale.games.base import Batch, Game, Move
from support.tiny import made_up_batch, shrink

CPU = torch.device("cpu")
PAGE = "bigbigan_tiny"


def small(*overrides: str) -> tuple[Game, Batch, dict[str, Tensor]]:
    config = shrink(load_config(PAGE, overrides).config)
    game = build_game(config, CPU).double()
    draw = {"z": torch.randn(6, game.prior.dim).double(), "eps": torch.randn(6, game.prior.dim).double()}
    return game, made_up_batch(config, 0, 6, torch.float64), draw


def test_losses_are_the_papers_sums_of_hinges() -> None:
    # Equations of section 2: for y = +1 on (x, E(x)) and -1 on (G(z), z), D: sum of h(y s) with h(t) = max(0, 1 - t); G and E: sum of y s.
    game, batch, draw = small()
    real = game.D(game.as_generated(batch.images), game.encode(batch.images, draw))
    fake = game.D(game.generate(draw), draw["z"])
    assert real.keys() == fake.keys() == {"xz", "x", "z"}
    losses = {player: sum(game.loss(Move(player, player), batch, draw).loss.values()) for player in "DGE"}
    hinges = sum(F.relu(1 - real[s]).mean() + F.relu(1 + fake[s]).mean() for s in real)
    torch.testing.assert_close(losses["D"], hinges)
    torch.testing.assert_close(losses["G"] + losses["E"], sum(real[s].mean() - fake[s].mean() for s in real))


@pytest.mark.parametrize(("unary", "names"), [("[]", {"xz"}), ("[x]", {"xz", "x"}), ("[z]", {"xz", "z"})])
def test_unary_scores_can_be_left_out(unary: str, names: set[str]) -> None:
    game, batch, draw = small(f"game.unary={unary}")
    assert game.loss(Move("G", "G"), batch, draw).loss.keys() == names


def test_encoder_sees_larger_images_than_are_generated() -> None:
    game, batch, draw = small("data.resolution=64", "game.encoder_scale=2")
    assert batch.images.shape[2:] == (64, 64)
    assert game.generate(draw).shape == (6, 3, 32, 32)
    assert [images.shape for images in game.reconstruct(batch.images)] == [(6, 3, 32, 32)] * 2
    seen = game.as_generated(batch.images)
    torch.testing.assert_close(seen[0, 0, 3, 5], batch.images[0, 0, 6:8, 10:12].mean())
    assert game.loss(Move("D", "D"), batch, draw).loss["real_xz"].isfinite()


def test_scale_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match="32 x 32 does not divide by encoder_scale 3"):
        small("game.encoder_scale=3")


def test_encoder_learns_at_ten_times_the_generators_rate_on_the_papers_page() -> None:
    optim = load_config("bigbigan_imagenet128").config.optim
    assert optim["E"].lr.to == 10 * optim["G"].lr.to


def test_orthogonal_regularisation_reaches_the_generator_alone() -> None:
    config = shrink(load_config(PAGE, ["game.orthogonal=0.1"]).config)
    game = Engine(config, CPU).game
    for p in game.parameters():
        p.grad = torch.zeros_like(p)
    for player in "DE":
        game.add_gradients(Move(player, player))
    assert not any(p.grad.any() for p in game.parameters())
    game.add_gradients(Move("G", "G"))
    changed = {name.split(".")[0] for name, p in game.named_parameters() if p.grad.any()}
    assert changed == {"G"}
