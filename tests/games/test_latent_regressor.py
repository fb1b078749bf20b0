"""The encoder that is fitted to a generator's dreams, against the posterior that is known, and the schedule that lets G rest."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from biggan_scale.config import ConfigError, load_config
from biggan_scale.engine.loop import Engine, build_game
from biggan_scale.games.base import Batch, Clock, Move
from biggan_scale.games.latent_regressor import LatentRegressor
from biggan_scale.nn import posterior
from support.tiny import play, shrink

CPU = torch.device("cpu")
PAGE = "latent_regressor_fashion_mnist32"
NO_IMAGES = Batch(torch.zeros(0), None, ())


class Projection(nn.Module):
    """x = A z, images of one pixel."""

    def __init__(self, A: Tensor) -> None:
        super().__init__()
        self.A = nn.Parameter(A)

    def forward(self, z: Tensor, y: None = None) -> Tensor:
        return (z @ self.A.T)[:, :, None, None]


class Linear(posterior.Encoder):
    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1)


class Toy(LatentRegressor):
    """The game's loss on networks given."""

    def __init__(self, G: nn.Module, E: posterior.Encoder) -> None:
        nn.Module.__init__(self)
        self.G, self.E = G, E


def fitted(A: Tensor, stochastic: bool) -> Toy:
    game = Toy(Projection(A), Linear(len(A), len(A), A.shape[1], stochastic))
    optimizer = torch.optim.Adam(game.E.parameters(), 0.03, betas=(0.5, 0.99))
    for step in range(600):
        optimizer.param_groups[0]["lr"] = 0.03 * (1 - step / 600)
        optimizer.zero_grad()
        game.loss(Move("E", "E"), NO_IMAGES, {"z": torch.randn(512, A.shape[1])}).loss["surprise"].backward()
        optimizer.step()
    return game


@pytest.mark.parametrize("stochastic", [False, True])
def test_encoder_becomes_the_posterior_of_a_linear_generator(stochastic: bool) -> None:
    # x = A z with fewer x than z: p(z | x) has the mean A^T (A A^T)^-1 x and the covariance I - A^T (A A^T)^-1 A.
    A = torch.tensor([[1.0, 0.5, -0.8], [0.0, 0.6, 0.4]])
    backward = A.T @ torch.linalg.inv(A @ A.T)
    game = fitted(A, stochastic)
    mean, std = game.E.posterior(torch.eye(2)[:, :, None, None])
    torch.testing.assert_close(mean - game.E.mean.bias, backward.T, rtol=0, atol=0.03)
    if stochastic:
        expected = (torch.eye(3) - backward @ A).diagonal().sqrt()
        torch.testing.assert_close(std, expected.expand(2, 3), rtol=0, atol=0.05)


def test_loss_is_the_negative_log_likelihood() -> None:
    game = Toy(Projection(torch.tensor([[1.0, 0.5]])), Linear(1, 1, 2, stochastic=True))
    z = torch.randn(5, 2)
    terms = game.loss(Move("E", "E"), NO_IMAGES, {"z": z})
    mean, std = game.E.posterior(game.G(z))
    torch.testing.assert_close(terms.loss["surprise"], -torch.distributions.Normal(mean, std).log_prob(z).mean())
    torch.testing.assert_close(terms.watch["error"], (z - mean).square().mean())


def test_exactly_invertible_generator_leaves_the_loss_bounded() -> None:
    game = Toy(Projection(torch.eye(2)), Linear(2, 2, 2, stochastic=True))
    with torch.no_grad():
        for p, value in zip(game.E.parameters(), (torch.eye(2), torch.zeros(2), torch.zeros(2, 2), torch.full((2,), -50.0)), strict=True):
            p.copy_(value)
    loss = game.loss(Move("E", "E"), NO_IMAGES, {"z": torch.randn(5, 2)}).loss["surprise"]
    assert loss.item() == pytest.approx(math.log(0.01) + math.log(2 * math.pi) / 2)


def test_no_gradient_reaches_the_generator() -> None:
    game = Toy(Projection(torch.eye(2)), Linear(2, 2, 2, stochastic=True))
    game.loss(Move("E", "E"), NO_IMAGES, {"z": torch.randn(5, 2)}).loss["surprise"].backward()
    assert game.G.A.grad is None
    assert game.E.mean.weight.grad is not None


def test_generator_and_discriminator_rest_when_their_time_is_over() -> None:
    config = shrink(load_config(PAGE, ["game.generator_kimg=0.008", "until=3 rounds"]).config, batch_size=4)
    engine = Engine(config, CPU)
    play(engine, 2)
    assert [move.name for move in engine.game.moves(Clock(nimg=7))] == ["D", "G", "E"]
    before = {name: p.clone() for name, p in engine.game.named_parameters()}
    play(engine, 1)
    changed = {name.split(".")[0] for name, p in engine.game.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"E"}


def test_without_a_time_the_generator_never_rests() -> None:
    game = build_game(shrink(load_config(PAGE, ["game.generator_kimg=null"]).config), CPU)
    assert [move.name for move in game.moves(Clock(nimg=10**12))] == ["D", "G", "E"]


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match="generator_kimg -1"):
        load_config(PAGE, ["game.generator_kimg=-1"])
    with pytest.raises(ConfigError, match="num_classes 10: this game learns without labels; set it to 0"):
        build_game(load_config(PAGE, ["data.num_classes=10"]).config, CPU)
