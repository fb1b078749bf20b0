"""BiGAN's objective against the paper's, and its encoder against the one that is known to be best."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biggan_scale.augment.diffaugment import Config as DiffaugmentConfig
from biggan_scale.augment.diffaugment import Diffaugment
from biggan_scale.config import ConfigError, load_config
from biggan_scale.dist.seeds import Noise
from biggan_scale.engine.loop import Engine, build_game
from biggan_scale.games.base import Batch, Clock, Game, Move
from biggan_scale.games.bigan import Bigan
from biggan_scale.games.regularised import RegularisedConfig
from biggan_scale.losses.adversarial import LOSSES
from biggan_scale.nn import posterior
from support.tiny import made_up_batch, shrink

CPU = torch.device("cpu")


class LinearGenerator(nn.Module):
    """x = A z."""

    def __init__(self, A: Tensor) -> None:
        super().__init__()
        self.A = A

    def forward(self, z: Tensor) -> Tensor:
        return (z @ self.A.T)[:, :, None, None]


class LinearEncoder(posterior.Encoder):
    """q(z | x) = N(M x + b, diag(std^2)), the same std for all x; its z is followed by zeros up to the generator's."""

    def __init__(self, dim: int, latent_dim: int, stochastic: bool) -> None:
        super().__init__(dim, dim, dim, stochastic)
        self.padding = latent_dim - dim
        nn.init.zeros_(self.mean.weight)
        if self.spread is not None:
            nn.init.zeros_(self.spread.weight)
            self.spread.weight.requires_grad_(False)

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def sample(self, images: Tensor, eps: Tensor | None) -> Tensor:
        return F.pad(super().sample(images, eps), (0, self.padding))


class QuadraticDiscriminator(nn.Module):
    """A quadratic function of x and the first values of z: the logarithm of a ratio of two Gaussians is one."""

    def __init__(self, dim: int, seen: int) -> None:
        super().__init__()
        self.seen = seen
        self.square = nn.Parameter(torch.zeros(dim + seen, dim + seen))
        self.linear = nn.Linear(dim + seen, 1)

    def forward(self, images: Tensor, z: Tensor) -> dict[str, Tensor]:
        pair = torch.cat([images.flatten(1), z[:, : self.seen]], dim=1)
        return {"xz": ((pair @ self.square) * pair).sum(1) + self.linear(pair).squeeze(1)}


class ToyBigan(Bigan):
    """BiGAN's moves and losses on networks given."""

    def __init__(self, G: nn.Module, E: nn.Module, D: nn.Module) -> None:
        nn.Module.__init__(self)
        self.G, self.E, self.D = G, E, D
        self.objective = LOSSES["non_saturating"]
        self.config = RegularisedConfig()
        self.augment = self.consistency = None


def fit_encoder(game: ToyBigan, cholesky: Tensor, latent_dim: int, steps: int) -> None:
    """Play D and E, G being fixed, on real data N(0, L L^T); learning rates fall to 0."""
    dim, first, batch = len(cholesky), 0.02, 512
    optimizers = {
        player: torch.optim.Adam([p for p in network.parameters() if p.requires_grad], first, betas=(0.5, 0.99))
        for player, network in (("D", game.D), ("E", game.E))
    }
    for step in range(steps):
        for player in ("D", "D", "D", "E"):
            optimizer = optimizers[player]
            optimizer.param_groups[0]["lr"] = first * (1 - step / steps)
            real = Batch((torch.randn(batch, dim) @ cholesky.T)[:, :, None, None], None, ())
            terms = game.loss(Move(player, player), real, {"z": torch.randn(batch, latent_dim), "eps": torch.randn(batch, dim)})
            optimizer.zero_grad()
            torch.stack(list(terms.loss.values())).sum().backward()
            optimizer.step()


def rotated(*scales: float) -> Tensor:
    """A matrix with orthogonal columns of these lengths."""
    cosine, sine = math.cos(0.6), math.sin(0.6)
    return torch.tensor([[cosine, -sine], [sine, cosine]]) @ torch.diag(torch.tensor(scales))


def test_deterministic_encoder_becomes_the_inverse_of_a_linear_generator() -> None:
    # x = A z with A invertible: the pairs (x, E(x)) and (G(z), z) are distributed alike only if E = A^-1 (Donahue et al., theorem 2).
    A = rotated(1.0, 0.5)
    E = LinearEncoder(2, 2, stochastic=False)
    fit_encoder(ToyBigan(LinearGenerator(A), E, QuadraticDiscriminator(2, 2)), A, 2, steps=800)
    torch.testing.assert_close(E.mean.weight @ A, torch.eye(2), rtol=0, atol=0.03)
    torch.testing.assert_close(E.mean.bias, torch.zeros(2), rtol=0, atol=0.05)


def test_stochastic_encoder_becomes_the_posterior_of_a_noisy_linear_generator() -> None:
    # x = A z + s e, where D sees x and z but not e: then q(z | x) must be p(z | x) = N(A^T S^-1 x, I - A^T S^-1 A), S = A A^T + s^2 I,
    # whose covariance is diagonal because A's columns are orthogonal.
    A, s = rotated(1.0, 0.5), 0.5
    S = A @ A.T + s**2 * torch.eye(2)
    M = A.T @ torch.linalg.inv(S)
    std = (torch.eye(2) - M @ A).diagonal().sqrt()
    E = LinearEncoder(2, 4, stochastic=True)
    G = LinearGenerator(torch.cat([A, s * torch.eye(2)], dim=1))
    fit_encoder(ToyBigan(G, E, QuadraticDiscriminator(2, 2)), torch.linalg.cholesky(S), 4, steps=600)
    torch.testing.assert_close(E.mean.weight.detach(), M, rtol=0, atol=0.06)
    assert E.spread is not None
    torch.testing.assert_close(F.softplus(E.spread.bias.detach()), std, rtol=0, atol=0.12)


def small(page: str, **changes: object) -> Game:
    return build_game(shrink(load_config(page).config, **changes), CPU).double()


@pytest.mark.parametrize("page", ["bigan_fashion_mnist32", "bigan_tiny"])
def test_discriminators_and_encoders_terms_are_those_of_the_paper(page: str) -> None:
    config = shrink(load_config(page).config)
    game = small(page)
    batch = made_up_batch(config, 0, 6, torch.float64)
    draw = {"z": torch.randn(6, game.prior.dim).double(), "eps": torch.randn(6, game.prior.dim).double()}
    if not game.E.is_stochastic:
        del draw["eps"]
    real = torch.sigmoid(game.D(batch.images, game.encode(batch.images, draw))["xz"])
    fake = torch.sigmoid(game.D(game.generate(draw), draw["z"])["xz"])
    terms = {player: game.loss(Move(player, player), batch, draw).loss for player in "DGE"}
    torch.testing.assert_close(sum(terms["D"].values()), -(real.log().mean() + (1 - fake).log().mean()))
    torch.testing.assert_close(terms["G"]["xz"], -fake.log().mean())
    torch.testing.assert_close(terms["E"]["xz"], -(1 - real).log().mean())


@pytest.mark.parametrize("loss", ["hinge", "non_saturating", "minimax", "wasserstein"])
def test_losses_on_offer_are_symmetric_so_that_e_can_play_as_g_does(loss: str) -> None:
    load_config("bigan_fashion_mnist32", [f"game.loss={loss}"])
    objective, score = LOSSES[loss], torch.linspace(-2, 2, 9)
    torch.testing.assert_close(objective.real(score), objective.fake(-score))


def test_least_squares_is_not_and_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"game\.loss: expected one of hinge, non_saturating, minimax, wasserstein"):
        load_config("bigan_fashion_mnist32", ["game.loss=least_squares"])


def test_moves_of_g_and_e_are_one_joint_step() -> None:
    """The gradient of the sum of both terms, taken once, is that of the two moves."""
    config = shrink(load_config("bigan_fashion_mnist32").config)
    game = small("bigan_fashion_mnist32")
    batch = made_up_batch(config, 0, 4, torch.float64)
    draw = {"z": torch.randn(4, game.prior.dim).double()}
    parameters = [*game.G.parameters(), *game.E.parameters()]
    of_moves = [
        gradient
        for player, network in (("G", game.G), ("E", game.E))
        for gradient in torch.autograd.grad(game.loss(Move(player, player), batch, draw).loss["xz"], list(network.parameters()))
    ]
    real = game.D(batch.images, game.encode(batch.images, draw))["xz"]
    fake = game.D(game.generate(draw), draw["z"])["xz"]
    joint = torch.autograd.grad(F.softplus(real).mean() + F.softplus(-fake).mean(), parameters)
    torch.testing.assert_close(of_moves, list(joint))


def test_encoder_is_trained_on_images_that_draws_of_its_own_have_changed() -> None:
    page = load_config("bigan_tiny", ["game.encoder_augment={type: diffaugment, transforms: [color]}", "game.augment=null"])
    config = shrink(page.config)
    game = build_game(config, CPU).double()
    assert isinstance(game, Bigan)
    batch = made_up_batch(config, 0, 6, torch.float64)
    draws = {move.name: game.draw(move, batch, Noise(0, batch.positions, move.name, dtype=torch.float64)) for move in game.moves(Clock())}
    assert [name for name, draw in draws.items() if "encoder_augment" in draw] == ["D", "E"]
    draw = draws["E"]
    changed = Diffaugment(DiffaugmentConfig(("color",)), game.spec)(batch.images, draw["encoder_augment"])
    assert (changed - batch.images).abs().max() > 0.1
    z = game.E.sample(changed, draw["eps"])
    torch.testing.assert_close(game.loss(Move("E", "E"), batch, draw).loss["xz"], F.softplus(game.D(batch.images, z)["xz"]).mean())
    torch.testing.assert_close(game.reconstruct(batch.images)[1], game.G(game.E(batch.images)))  # outside of training, images as they are


def test_an_augmentation_of_the_encoder_that_waits_to_be_steered_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"game\.encoder_augment: nothing steers its p.* set target: null and a p"):
        build_game(load_config("bigan_tiny", ["game.encoder_augment={type: ada}"]).config, CPU)
    build_game(load_config("bigan_tiny", ["game.encoder_augment={type: ada, target: null, p: 0.5}"]).config, CPU)


def test_encoder_has_a_learning_rate_of_its_own() -> None:
    config = shrink(load_config("bigan_fashion_mnist32", ["optim.E.lr=3e-3"]).config)
    engine = Engine(config, CPU)
    assert {player: o.set_time(0, 64) for player, o in engine.optimizers.items()} == {"D": 5e-4, "G": 5e-4, "E": 3e-3}


def test_a_round_is_d_then_g_then_e() -> None:
    game = small("bigan_fashion_mnist32")
    assert [move.name for move in game.moves(Clock())] == ["D", "G", "E"]


def test_labels_are_refused() -> None:
    with pytest.raises(ConfigError, match="num_classes 9: this game learns without labels; set it to 0"):
        build_game(load_config("bigan_tiny", ["data.num_classes=9"]).config, CPU)
