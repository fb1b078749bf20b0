"""A model with an encoder keeps it: loaded from a run, exported, and loaded from the export."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from biggan_scale import load
from biggan_scale.config import load_config
from biggan_scale.engine.loop import Engine
from biggan_scale.export.hub import export_run
from support.runs import make_run
from support.tiny import shrink

PAGES = ["bigan_tiny", "bigbigan_tiny", "bigbigan_fashion_mnist32"]


@pytest.fixture(scope="module", params=PAGES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Engine]:
    config = shrink(load_config(request.param, ["ema.standing_batches=2", "ema.start=0 img"]).config, batch_size=4)
    folder = tmp_path_factory.mktemp(request.param)
    return folder, make_run(folder, config, rounds=3)


@torch.no_grad()
def encoded_by_the_engine(engine: Engine, images: Tensor) -> Tensor:
    with engine.ema.applied():
        codes = engine.game.eval().E(images)
    engine.game.train()
    return codes


def real(engine: Engine) -> Tensor:
    spec = engine.config.image_spec()
    return torch.rand(5, spec.channels, spec.height, spec.width) * 2 - 1


def test_encoder_of_a_run_is_the_averaged_one_with_its_own_statistics(run: tuple[Path, Engine]) -> None:
    # Standing statistics are made of generated batches, which E never sees: its norms keep the averages of training.
    folder, engine = run
    images = real(engine)
    encoder = load(folder).encoder
    expected = encoded_by_the_engine(engine, images)
    torch.testing.assert_close(encoder(images), expected, rtol=0, atol=2e-6)
    raw = load(folder, weights="raw").encoder(images)
    assert (raw - expected).abs().max() > 1e-6


def test_an_export_carries_the_encoder(run: tuple[Path, Engine], tmp_path: Path) -> None:
    folder, engine = run
    export_run(folder, tmp_path / "export")
    images = real(engine)
    model, exported = load(folder), load(tmp_path / "export")
    assert torch.equal(exported.encoder(images), model.encoder(images))
    assert torch.equal(exported.encoder.features(images), model.encoder.features(images))
    assert "model.encoder(images)" in (tmp_path / "export" / "README.md").read_text()


def test_codes_are_what_the_generator_takes(run: tuple[Path, Engine]) -> None:
    folder, engine = run
    images, model = real(engine), load(folder)
    codes = model.encoder(images)
    assert codes.shape == (5, engine.game.prior.dim)
    torch.testing.assert_close(model.generator(codes, None), model.game.reconstruct(images)[1])
    assert not any(parameter.requires_grad for parameter in model.encoder.parameters())
