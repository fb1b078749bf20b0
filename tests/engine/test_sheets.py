"""What is to be seen of a run beside samples: a row for each code, and real images above their reconstructions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from biggan_scale.config import load_config
from biggan_scale.data.pixels import to_uint8
from biggan_scale.engine import snapshot
from biggan_scale.engine.feed import first_images, open_checked
from biggan_scale.engine.loop import build_game
from biggan_scale.engine.train import train
from support.tiny import shrink

CPU = torch.device("cpu")
SMALL = ("until=2 rounds", "batch_size=4", "snapshot={every: 1 rounds, columns: 6, interpolations: 1}", "log.tensorboard=false")
NARROW = ("game.generator.channels=4", "game.encoder.channels=4", "game.discriminator.channels=4")


def test_a_run_with_an_encoder_shows_the_same_real_images_above_their_reconstructions(tmp_path: Path) -> None:
    loaded = load_config("bigan_ali_emoji32", [*SMALL, *NARROW, f"run_dir={tmp_path}"])
    train(loaded)
    samples, sheets = (sorted((tmp_path / "samples").glob(f"*-kimg{kind}.png")) for kind in ("", "-reconstructions"))
    assert len(samples) == len(sheets) == 2
    pictures = [np.asarray(Image.open(sheet)).reshape(8, 32, 6, 32, 3) for sheet in sheets]  # (row, y, column, x, channel)
    real = first_images(loaded.config, open_checked(loaded.config), 24)  # type: ignore[arg-type]
    expected = real.unflatten(0, (4, 6)).permute(0, 3, 1, 4, 2).numpy()
    for picture in pictures:
        assert (picture[0::2] == expected).all()
    assert (pictures[0][1::2] != pictures[1][1::2]).any()


def test_a_row_of_the_sheet_is_a_code() -> None:
    config = shrink(load_config("infogan_fashion_mnist32", ["snapshot={columns: 3, interpolations: 0, rows: 12}"]).config)
    game = build_game(config, CPU).eval()
    sheet = snapshot.sheet(game, config.snapshot, 0, CPU, torch.float32, lambda: None)
    assert sheet.shape == (1, 12 * 32, 3 * 32)  # 10 categories and 2 uniform codes
    shown: list[torch.Tensor] = []
    game.generate = lambda draw: shown.append(draw["z"]) or torch.zeros(len(draw["z"]), 1, 32, 32)
    snapshot.sheet(game, config.snapshot, 0, CPU, torch.float32, lambda: None)
    codes = game.prior.split(torch.cat(shown))
    assert codes.categorical[0].argmax(1)[:30].tolist() == [row for row in range(10) for _ in range(3)]


def test_reconstructions_are_of_the_mean() -> None:
    game = build_game(shrink(load_config("bigan_ali_emoji32").config), CPU).eval()
    images = torch.rand(4, 3, 32, 32) * 2 - 1
    sheet = snapshot.reconstructions(game, images, 2, lambda: None).unflatten(1, (4, 32)).unflatten(3, (2, 32))  # (C, row, y, column, x)
    again = to_uint8(game.G(game.E.posterior(images)[0]).detach())
    assert torch.equal(sheet[:, 1, :, 0], again[0]) and torch.equal(sheet[:, 3, :, 1], again[3])
