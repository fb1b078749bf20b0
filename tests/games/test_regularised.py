"""Augmentation, consistency and LeCam in every game whose D scores images: closed forms, and neither ranks nor restarts change them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from biggan_scale.config import ConfigError, RunConfig, load_config
from biggan_scale.dist import process_group
from biggan_scale.dist.seeds import Noise
from biggan_scale.engine import checkpoint
from biggan_scale.engine.loop import Engine, build_game
from biggan_scale.games.base import Batch, Clock, Draw, Terms
from support.ranks import run_ranks
from support.tiny import assert_same, made_up_batch, play, played, shrink

CPU = torch.device("cpu")
WITHOUT_NORMS = ("game.generator={type: stylegan2}", "game.discriminator={type: stylegan2}", "game.orthogonal=0")  # accumulation is neutral
PAGES = {
    "gan": ("tiny", *WITHOUT_NORMS),
    "stylegan2": ("stylegan2_tiny", "game.r1_every=2", "game.path_length=0"),
    "r3gan": ("r3gan_tiny",),
    "progan": ("progan_tiny",),
    "infogan": ("infogan_fashion_mnist32",),
    "bigan": ("bigan_tiny",),
    "bigbigan": ("bigbigan_tiny", "game.encoder_scale=1"),
}
EVERYTHING = ("game.lecam=0.3", "game.lecam_decay=0.6", "game.augment={type: diffaugment}")
CONSISTENT = ("game.consistency={type: diffaugment, transforms: [flip, translation]}",)

every_game = pytest.mark.parametrize("name", PAGES)


def config(name: str, *overrides: str, **changes: Any) -> RunConfig:
    page, *others = PAGES[name]
    return shrink(load_config(page, [*others, *overrides]).config, **{"batch_size": 4, "micro_batch": None, "precision": "fp64", **changes})


def terms_of_D(game: Any, batch: Batch) -> tuple[Terms, Draw]:
    move = game.moves(Clock())[0]
    assert move.name == "D"
    draw = game.draw(move, batch, Noise(0, batch.positions, "D", dtype=torch.float64))
    return game.loss(move, batch, draw), draw


@every_game
def test_nothing_is_added_that_is_not_asked_for(name: str) -> None:
    settings = config(name, "game.augment=null")
    game = build_game(settings, CPU).double()
    assert not {"mean_real", "mean_fake", "rounds"} & {buffer for buffer, _ in game.named_buffers(recurse=False)}
    found, draw = terms_of_D(game, made_up_batch(settings, 0, 4, torch.float64))
    assert not {"lecam", "consistency_real", "consistency_fake"} & found.loss.keys()
    assert not [key for key in draw if key.startswith(("augment", "consistency"))]


@pytest.mark.parametrize("name", ["gan", "stylegan2", "r3gan", "progan"])  # the others have batch norm
def test_neither_accumulation_nor_a_resume_changes_what_they_do(name: str, tmp_path: Path) -> None:
    settings = config(name, *EVERYTHING, *CONSISTENT)
    whole = played(settings, 3)
    assert float(whole.model["rounds"]) == 3 and whole.model["mean_real"] != whole.model["mean_fake"]
    assert_same(played(dataclasses.replace(settings, micro_batch=2), 3), whole, atol=1e-8)
    first = Engine(settings, CPU)
    play(first, 2)
    path = checkpoint.save(tmp_path, first.state_dict(), {})
    second = Engine(settings, CPU)
    second.load_state_dict(checkpoint.load(path))
    play(second, 1)
    assert_same(second.state_dict(), whole)


def test_two_ranks_are_as_one(tmp_path: Path) -> None:
    run_ranks(2, save_after_three_rounds, str(tmp_path))
    for name in PAGES:
        of_rank = [checkpoint.load(next((tmp_path / str(rank) / name).glob("*-kimg"))) for rank in range(2)]
        assert_same(of_rank[0], of_rank[1])
        assert_same(of_rank[0], played(config(name, *EVERYTHING, *CONSISTENT), 3), atol=1e-8)


def save_after_three_rounds(folder: str) -> None:
    for name in PAGES:
        state = played(config(name, *EVERYTHING, *CONSISTENT), 3)
        checkpoint.save(Path(folder) / str(process_group.rank()) / name, state, {})


@every_game
def test_consistency_is_the_squared_change_of_the_score(name: str) -> None:
    """D(v) = <a, v>, and T mirrors about half of the images: the change is <a, T(v) - v>. No weight at generated images: CR-GAN."""
    settings = config(name, "game.augment=null", "game.consistency={type: diffaugment, transforms: [flip]}", "game.consistency_fake=0")
    game, batch = build_game(settings, CPU).double(), made_up_batch(settings, 0, 4, torch.float64)
    if name == "progan":
        game.G.grow(3), game.D.grow(3)
    slope = torch.randn(batch.images[0].numel(), dtype=torch.float64)
    linear = lambda view, labels=None: view.flatten(1) @ slope  # noqa: E731
    game.judge = linear
    game.pair_scores = lambda view, z: {"xz": linear(view)}
    if name == "infogan":
        game.D.features, game.D.score = lambda x: x.flatten(1), lambda x: x @ slope
        game.Q.forward = lambda features: (features[:, : game.Q.sizes[0]], [features[:, :k] for k in game.Q.sizes[1:]])
    found, draw = terms_of_D(game, batch)
    mirrored = torch.where(draw["consistency_real"][:, :, None, None] < 0.5, batch.images.flip(3), batch.images)
    assert int((mirrored != batch.images).flatten(1).any(1).sum()) > 0
    torch.testing.assert_close(found.loss["consistency_real"], 10 * linear(mirrored - batch.images).square().mean())
    assert "consistency_fake" not in found.loss


@every_game
def test_lecam_pulls_by_the_means_of_earlier_rounds(name: str) -> None:
    settings = config(name, *EVERYTHING)
    game, batch = build_game(settings, CPU).double(), made_up_batch(settings, 0, 4, torch.float64)
    found, _ = terms_of_D(game, batch)
    assert float(found.loss["lecam"].detach()) == 0  # nothing has been seen
    for real, fake in ((1.0, -1.0), (3.0, 0.0), (5.0, 1.0)):
        scores = {"D/score_real": torch.tensor(real), "D/score_fake": torch.tensor(fake), "D/sign_real": torch.tensor(1.0)}
        game.after_round(scores, Clock())
    # The first two count alike, then the newest 0.4.
    assert float(game.mean_real) == pytest.approx(0.6 * 2 + 0.4 * 5) and float(game.mean_fake) == pytest.approx(0.6 * -0.5 + 0.4 * 1)
    game.judge = lambda view, labels: 2 + 0 * view.flatten(1).sum(1)
    game.pair_scores = lambda view, z: {"xz": game.judge(view, None) / 2, "x": game.judge(view, None) / 2}
    if name == "infogan":
        game.D.score = lambda features: 2 + 0 * features.sum(1)
    found, _ = terms_of_D(game, batch)
    assert float(found.loss["lecam"].detach()) == pytest.approx(0.3 * ((2 - 0.1) ** 2 + (2 - 3.2) ** 2))


@every_game
def test_D_sees_augmented_images_only_and_G_learns_through_them(name: str) -> None:
    """Whatever D is asked has a square cut out; but for the lines between two images in WGAN-GP."""
    settings = config(name, "game.augment={type: diffaugment, transforms: [cutout]}")
    game, batch = build_game(settings, CPU).double(), made_up_batch(settings, 0, 4, torch.float64)
    seen: list[torch.Tensor] = []
    game.D.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    if name == "infogan":
        features = game.D.features
        game.D.features = lambda images: (seen.append(images), features(images))[1]
    game.G.requires_grad_(True)
    for move in game.moves(Clock()):
        draw = game.draw(move, batch, Noise(0, batch.positions, move.name, dtype=torch.float64))
        total = torch.stack(list(game.loss(move, batch, draw).loss.values())).sum()
        if move.name == "G":
            total.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in game.G.parameters())
    between = seen.pop(2) if name == "progan" else None
    assert len(seen) >= 2 and (between is None or between.requires_grad)
    for images in seen:
        assert ((images == 0).flatten(2).all(1).sum(1) > 0).all()  # every one has its black square


def test_the_overfitting_of_a_biggan_steers_ada(tmp_path: Path) -> None:
    settings = load_config("tiny", ["game.augment={type: ada, p: 0.5, kimg: 0.1, every: 2}"])
    engine = Engine(shrink(settings.config, batch_size=4, precision="fp64"), CPU)
    play(engine, 5)
    assert float(engine.game.augment.p) != 0.5


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match="consistency_fake and lecam must not be negative"):
        load_config("tiny", ["game.lecam=-1"])
    with pytest.raises(ConfigError, match=r"lecam_decay 1\.0 must be in"):
        load_config("stylegan2_tiny", ["game.lecam_decay=1"])
    with pytest.raises(ConfigError, match="4 x 4 px are too small"):
        build_game(load_config("progan_tiny", ["game.augment={type: ada}"]).config, CPU)
    with pytest.raises(ConfigError, match=r"game\.consistency: nothing steers its p"):
        build_game(load_config("tiny", ["game.consistency={type: ada}"]).config, CPU)


def test_a_round_in_which_D_rests_steers_nothing() -> None:
    settings = shrink(load_config("latent_regressor_fashion_mnist32", ["game.generator_kimg=0", *EVERYTHING]).config, batch_size=4)
    engine = Engine(settings, CPU)
    play(engine, 1)
    assert float(engine.game.rounds) == 0
