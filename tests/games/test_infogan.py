"""InfoGAN's bound against what is known of mutual information, and its codes against planted ones."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biggan_scale.config import ConfigError, ImageSpec, load_config
from biggan_scale.engine.loop import build_game
from biggan_scale.games.base import Batch, Move
from biggan_scale.games.infogan import CodeReader, Infogan
from biggan_scale.latent.joint import Config as JointConfig
from biggan_scale.latent.joint import Joint
from biggan_scale.losses.adversarial import LOSSES
from support.tiny import made_up_batch, shrink

CPU = torch.device("cpu")
PAGE = "infogan_fashion_mnist32"
SPEC = ImageSpec(1, 1, 2, 0)


class PointDiscriminator(nn.Module):
    """Images of one pixel to features and scores, by a perceptron."""

    num_features = 64

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.head = nn.Linear(64, 1)

    def features(self, images: Tensor) -> Tensor:
        return self.body(images.flatten(1))

    def score(self, features: Tensor) -> Tensor:
        return self.head(features).squeeze(1)


class PointGenerator(nn.Module):
    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(latent_dim, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, z: Tensor) -> Tensor:
        return self.body(z)[:, :, None, None]


class ToyInfogan(Infogan):
    """InfoGAN's moves and losses on networks given."""

    def __init__(self, prior: Joint, G: nn.Module, D: PointDiscriminator) -> None:
        nn.Module.__init__(self)
        self.config = load_config(PAGE).config.game.config
        self.prior, self.G, self.D = prior, G, D
        self.Q = CodeReader(D.num_features, 64, prior)
        self.objective = LOSSES["non_saturating"]
        self.augment = self.consistency = None


def draw(prior: Joint, batch: int) -> Tensor:
    """A joint draw from torch's generator: one generator for each sample takes long."""
    config = prior.config
    codes = [F.one_hot(torch.randint(number, (batch,)), number).float() for number in config.categories]
    return torch.cat([torch.randn(batch, config.normal), torch.rand(batch, config.uniform) * 2 - 1, *codes], dim=1)


def play(game: ToyInfogan, players: str, rounds: int, real: Callable[[int], Tensor], lr: float = 2e-3) -> None:
    """Moves of 256 samples each; `real` draws (B, 2) points."""
    networks = {"D": [*game.D.parameters(), *game.Q.parameters()], "G": list(game.G.parameters())}
    optimizers = {player: torch.optim.Adam(networks[player], lr, betas=(0.5, 0.99)) for player in players}
    for _ in range(rounds):
        for player in players:
            batch = Batch(real(256)[:, :, None, None], None, ())
            terms = game.loss(Move(player, player), batch, {"z": draw(game.prior, 256)})
            optimizers[player].zero_grad()
            torch.stack(list(terms.loss.values())).sum().backward()
            optimizers[player].step()


class TwoPoints(nn.Module):
    """x = (+-1 by the category + noise, 0): an image that tells part of its code."""

    def __init__(self, spread: float) -> None:
        super().__init__()
        self.spread = spread

    def forward(self, z: Tensor) -> Tensor:
        position = z[:, 1] - z[:, 2] + self.spread * z[:, 0]
        return torch.stack([position, torch.zeros_like(position)], dim=1)[:, :, None, None]


class Plane(nn.Module):
    """x = (u, n) for z = (n, u)."""

    def forward(self, z: Tensor) -> Tensor:
        return z.flip(1)[:, :, None, None]


def information_of_two_points(spread: float) -> float:
    """I(c; x) in nats, by quadrature: H(c) - E_x[H(c | x)]."""
    x = torch.linspace(-8, 8, 20001).double()
    density = torch.exp(-((x - 1) ** 2) / (2 * spread**2)) / (spread * math.sqrt(2 * math.pi))  # of x given c = 0; c = 1 mirrors it
    posterior = torch.sigmoid(2 * x / spread**2)
    return math.log(2) + float(torch.trapezoid(density * F.logsigmoid(2 * x / spread**2) * (posterior > 0), x))


@torch.no_grad()
def bound(game: ToyInfogan, z: Tensor) -> float:
    return game.information(game.D.features(game.G(z)), z).categorical.item()


@pytest.mark.parametrize("spread", [0.3, 1.0])  # 0.692 and 0.337 of log 2 = 0.693 nats
def test_bound_approaches_the_mutual_information_from_below(spread: float) -> None:
    prior = Joint(JointConfig(normal=1, uniform=0, categories=(2,)), SPEC)
    game = ToyInfogan(prior, TwoPoints(spread), PointDiscriminator())
    truth, z = information_of_two_points(spread), draw(prior, 50_000)
    assert bound(game, z) < 0.1
    play(game, "D", 300, lambda number: torch.randn(number, 2))
    assert truth - 0.05 <= bound(game, z) <= truth + 0.01  # 0.01: the sampling error of 50,000 draws


def test_bound_never_exceeds_the_codes_entropy_whatever_q_says() -> None:
    prior = Joint(JointConfig(normal=2, uniform=1, categories=(4, 3)), SPEC)
    game = ToyInfogan(prior, PointGenerator(prior.dim), PointDiscriminator())
    z = draw(prior, 500)
    for scale in (1.0, 30.0, 1000.0):
        nn.init.normal_(game.Q.output.weight, std=scale)
        assert bound(game, z) <= prior.entropy == pytest.approx(math.log(12))


def test_codes_recover_planted_clusters() -> None:
    """Real points lie round four corners; each of four categories comes to mean one corner."""
    prior = Joint(JointConfig(normal=2, uniform=0, categories=(4,)), SPEC)
    game = ToyInfogan(prior, PointGenerator(prior.dim), PointDiscriminator())
    corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    play(game, "DG", 600, lambda number: corners[torch.randint(4, (number,))] + 0.15 * torch.randn(number, 2))
    z = draw(prior, 2000)
    with torch.no_grad():
        corner = torch.cdist(game.G(z).flatten(1), corners).argmin(1)
    code = prior.split(z).categorical[0].argmax(1)
    table = torch.zeros(4, 4).index_put_((code, corner), torch.ones(2000), accumulate=True)  # how often a code shows a corner
    assert (table.max(1).values.sum() / 2000).item() > 0.95  # purity; 0.25 by chance
    assert set(table.argmax(1).tolist()) == {0, 1, 2, 3}  # and no corner is left out
    assert prior.entropy - 0.1 <= bound(game, z) <= prior.entropy


def test_uniform_code_that_moves_the_image_is_read_off_it() -> None:
    prior = Joint(JointConfig(normal=1, uniform=1, categories=()), SPEC)
    game = ToyInfogan(prior, Plane(), PointDiscriminator())
    play(game, "D", 200, lambda number: torch.randn(number, 2))
    z = draw(prior, 2000)
    with torch.no_grad():
        mean, logits = game.Q(game.D.features(game.G(z)))
    assert logits == []
    assert torch.corrcoef(torch.cat([mean, z[:, 1:]], dim=1).T)[0, 1] > 0.98


def small(*overrides: str) -> Infogan:
    return build_game(shrink(load_config(PAGE, overrides).config), CPU).double()


def test_losses_are_the_papers() -> None:
    game = small("game.weight=0.7", "game.augment=null")
    batch = made_up_batch(shrink(load_config(PAGE).config), 0, 6, torch.float64)
    z = draw(game.prior, 6).double()
    codes = game.prior.split(z)
    features = game.D.features(game.G(z))
    mean, (logits,) = game.Q(features)
    told = math.log(10) + (logits.softmax(1) * codes.categorical[0]).sum(1).log().mean()
    density = torch.distributions.Normal(mean, 1.0).log_prob(codes.uniform).sum(1).mean() + 2 * math.log(2)
    fake, real = torch.sigmoid(game.D.score(features)), torch.sigmoid(game.D(batch.images))
    extra = -0.7 * told - 0.1 * density
    of = {player: sum(game.loss(Move(player, player), batch, {"z": z}).loss.values()) for player in "DG"}
    torch.testing.assert_close(of["D"], -(real.log().mean() + (1 - fake).log().mean()) + extra)
    torch.testing.assert_close(of["G"], -fake.log().mean() + extra)


def test_walking_from_one_latent_to_another_keeps_the_category() -> None:
    game = small()
    a, b = ({"z": draw(game.prior, 2).double()} for _ in range(2))
    start, half, end = (game.prior.split(game.interpolate(a, b, t)["z"]) for t in (0.0, 0.5, 1.0))
    torch.testing.assert_close(half.uniform, (start.uniform + end.uniform) / 2)
    assert torch.equal(half.categorical[0], game.prior.split(a["z"]).categorical[0])
    torch.testing.assert_close(end.normal, game.prior.split(b["z"]).normal)


def test_a_prior_without_codes_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"game\.prior\.type normal: InfoGAN needs the codes of a joint prior; allowed: joint"):
        small("game.prior={type: normal, dim: 16}")
