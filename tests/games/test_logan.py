"""Latent optimisation against its equation, and against differences of the whole loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from biggan_scale.config import ConfigError, load_config
from biggan_scale.dist.seeds import Noise
from biggan_scale.engine.loop import build_game
from biggan_scale.games.base import Batch, Draw, Move
from support.tiny import shrink

BATCH = Batch(torch.rand(4, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1, None, (0, 1, 2, 3))
PLAYERS = ("D", "G")


def make(*overrides: str) -> Any:
    config = shrink(load_config("logan_tiny", ["game.discriminator.spectral_norm=false", *overrides]).config)
    return build_game(config, torch.device("cpu")).double()


def drawn(game: Any, player: str) -> Draw:
    return game.draw(Move(player, player), BATCH, Noise(0, BATCH.positions, player, dtype=torch.float64))


def test_step_solves_the_damped_system() -> None:
    game = make("game.share=1", "game.beta=0.01", "game.alpha=0.2")
    draw = drawn(game, "G")
    moved, step = game.optimised(draw)
    z = draw["z"].clone().requires_grad_()
    (gradients,) = torch.autograd.grad(game.D(game.G(z)).sum(), z)
    for gradient, mine in zip(gradients, step, strict=True):
        fisher = 0.01 * torch.eye(len(gradient), dtype=torch.float64) + torch.outer(gradient, gradient)
        torch.testing.assert_close(mine, 0.2 * torch.linalg.solve(fisher, gradient))
    torch.testing.assert_close(moved["z"], (draw["z"] + step).clamp(-1, 1))
    assert game.D(game.G(moved["z"])).mean() > game.D(game.G(draw["z"])).mean()


def test_only_a_share_of_the_latents_moves_and_none_leaves_the_prior() -> None:
    game = make("game.share=0.5", "game.alpha=1000")
    draw = drawn(game, "G") | {"step": torch.tensor([[0.1], [0.49], [0.5], [0.9]], dtype=torch.float64)}
    moved, step = game.optimised(draw)
    assert step.square().sum(1).gt(0).tolist() == [True, True, False, False]
    assert torch.equal(moved["z"][2:], draw["z"][2:])
    assert moved["z"].abs().max() <= 1


@pytest.mark.parametrize("player", PLAYERS)
def test_gradient_is_that_of_the_whole_loss_the_step_included(player: str) -> None:
    game = make("game.share=1", "game.beta=0.1")
    draw, move = drawn(game, player), Move(player, player)
    weight = getattr(game, player).linear.weight

    def loss() -> Tensor:
        return torch.stack(list(game.loss(move, BATCH, draw).loss.values())).sum()

    (gradient,) = torch.autograd.grad(loss(), weight)
    direction = torch.randn(weight.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            weight.add_(sign * 1e-6 * direction)
        ends.append(loss().detach())
        with torch.no_grad():
            weight.sub_(sign * 1e-6 * direction)
    torch.testing.assert_close((gradient * direction).sum(), (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-9)
    assert game.loss(move, BATCH, draw).loss["step"] > 0


def test_samples_are_of_the_prior() -> None:
    game = make()
    draw = game.latents(Noise(0, range(64), "sample", dtype=torch.float64))
    assert set(draw) == {"z"}
    assert draw["z"].abs().max() <= 1
    torch.testing.assert_close(game.generate(draw), game.G(draw["z"]))


def test_another_prior_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"game.prior: type normal, but latents are clipped to \[-1, 1\]; take uniform"):
        make("game.prior.type=normal")
