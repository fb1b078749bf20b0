from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from biggan_scale.config import ConfigError, load_config
from biggan_scale.dist.seeds import Noise
from biggan_scale.engine.loop import build_game
from biggan_scale.games.base import Move
from biggan_scale.losses.mmd import blocks, squared_mmd
from support.tiny import assert_same, made_up_batch, played, shrink

PAGE = "mmd_fashion_mnist32"


def config(*overrides: str, **changes: Any) -> Any:
    page = load_config(PAGE, ["game.generator.norm=group", "precision=fp64", *overrides]).config
    return shrink(page, batch_size=4, **changes)


def test_players_pull_the_distance_apart() -> None:
    made = config()
    game = build_game(made, torch.device("cpu")).double()
    batch = made_up_batch(made, 0, 4, torch.float64)
    draw = game.draw(Move("D", "D"), batch, Noise(0, batch.positions, "D", dtype=torch.float64))
    expected = squared_mmd(blocks(game.D(batch.images), 2), blocks(game.D(game.G(draw["z"])), 2)).mean()
    assert expected.abs() > 1e-12
    torch.testing.assert_close(game.loss(Move("G", "G"), batch, draw).loss["mmd"], expected)
    terms = game.loss(Move("D", "D"), batch, draw).loss
    torch.testing.assert_close(terms["mmd"], -expected)
    assert terms["penalty"] > 0


def test_blocks_make_accumulation_neutral() -> None:
    """Batch norm, which is not, is left out of G."""
    whole = config()
    assert_same(played(dataclasses.replace(whole, micro_batch=2), 2), played(whole, 2), atol=1e-9)


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(ConfigError, match="take type dcgan with outputs: 16"):
        build_game(config("game.discriminator.outputs=1"), torch.device("cpu"))
    with pytest.raises(ConfigError, match=r"data\.num_classes 10: this game knows no classes"):
        build_game(config("data.num_classes=10"), torch.device("cpu"))
    with pytest.raises(ConfigError, match=r"a micro-batch of 1 cannot be cut into blocks of 2 \(game\.block\)"):
        played(dataclasses.replace(config(), micro_batch=1), 1)
