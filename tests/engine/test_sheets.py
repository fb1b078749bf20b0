"""What is to be seen of a run beside samples: a row for each code, and real images above their reconstructions."""

from __future__ import annotations

import base64
import io
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from biggan_scale.cli import main
from biggan_scale.config import Loaded, load_config
from biggan_scale.data.pixels import to_uint8
from biggan_scale.engine import snapshot
from biggan_scale.engine.feed import first_images, open_checked
from biggan_scale.engine.loop import build_game
from biggan_scale.engine.train import train
from support.tiny import shrink

CPU = torch.device("cpu")
SMALL = ("until=2 rounds", "batch_size=4", "snapshot={every: 1 rounds, columns: 6, interpolations: 1}", "log.tensorboard=true")
NARROW = ("game.generator.channels=4", "game.encoder.channels=4", "game.discriminator.channels=4")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """What was run: two rounds of a game with an encoder, with two sheets of each kind."""
    loaded = load_config("bigan_tiny", [*SMALL, *NARROW, f"run_dir={tmp_path_factory.mktemp('run')}"])
    train(loaded)
    return loaded


def sheets_of(loaded: Loaded) -> tuple[list[Path], list[Path]]:
    """The files of samples, and of reconstructions."""
    folder = Path(loaded.config.run_dir) / "samples"
    return sorted(folder.glob("*-kimg.png")), sorted(folder.glob("*-kimg-reconstructions.png"))


def test_a_run_with_an_encoder_shows_the_same_real_images_above_their_reconstructions(finished: Loaded) -> None:
    samples, sheets = sheets_of(finished)
    assert len(samples) == len(sheets) == 2
    pictures = [np.asarray(Image.open(sheet)).reshape(8, 32, 6, 32, 3) for sheet in sheets]  # (row, y, column, x, channel)
    real = first_images(finished.config, open_checked(finished.config), 24)  # type: ignore[arg-type]
    expected = real.unflatten(0, (4, 6)).permute(0, 3, 1, 4, 2).numpy()
    for picture in pictures:
        assert (picture[0::2] == expected).all()
    assert (pictures[0][1::2] != pictures[1][1::2]).any()


def test_sheets_of_both_kinds_are_in_tensorboard_too(finished: Loaded) -> None:
    events = EventAccumulator(finished.config.run_dir)
    events.Reload()
    for kind, files in zip(("samples", "reconstructions"), sheets_of(finished), strict=True):
        shown = events.Images(kind)
        assert [event.step for event in shown] == [4, 8]
        for event, file in zip(shown, files, strict=True):
            assert (np.asarray(Image.open(io.BytesIO(event.encoded_image_string))) == np.asarray(Image.open(file))).all()


def test_sheets_of_both_kinds_are_in_the_report(finished: Loaded) -> None:
    assert main(["report", finished.config.run_dir]) == 0
    source = (Path(finished.config.run_dir) / "report.html").read_text()
    for file in itertools.chain(*sheets_of(finished)):
        assert base64.b64encode(file.read_bytes()).decode() in source


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
    game = build_game(shrink(load_config("bigan_tiny").config), CPU).eval()
    images = torch.rand(4, 3, 32, 32) * 2 - 1
    sheet = snapshot.reconstructions(game, images, 2, lambda: None).unflatten(1, (4, 32)).unflatten(3, (2, 32))  # (C, row, y, column, x)
    again = to_uint8(game.G(game.E.posterior(images)[0]).detach())
    assert torch.equal(sheet[:, 1, :, 0], again[0]) and torch.equal(sheet[:, 3, :, 1], again[3])
