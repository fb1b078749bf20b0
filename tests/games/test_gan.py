from __future__ import annotations

import pytest
import torch

from biggan_scale.config import load_config
from biggan_scale.dist.seeds import Noise
from biggan_scale.engine.loop import build_game
from biggan_scale.games.base import Batch, Move
from support.tiny import shrink


@pytest.mark.parametrize("apart", [True, False])
def test_apart_keeps_generated_images_out_of_the_statistics_that_real_ones_are_judged_by(apart: bool) -> None:
    config = shrink(load_config("dcgan_fashion_mnist32", [f"game.apart={str(apart).lower()}"]).config)
    game = build_game(config, torch.device("cpu"))
    batch = Batch(torch.rand(4, 1, 32, 32) * 2 - 1, None, (0, 1, 2, 3))
    real = []
    for seed in (0, 1):
        draw = game.draw(Move("D", "D"), batch, Noise(seed, batch.positions, "D"))
        real.append(game.loss(Move("D", "D"), batch, draw).watch["score_real"])
    assert torch.equal(*real) == apart
