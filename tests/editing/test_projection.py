"""Projection: a generator's own image is found again, other files are fitted to it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from biggan_scale import cli
from biggan_scale.config import ConfigError, ImageSpec
from biggan_scale.data.pixels import to_uint8
from biggan_scale.editing.projection import Settings, Spread, descend, read_image
from biggan_scale.editing.styles import images_of
from editing.conftest import Runs


def own_image(runs: Runs, folder: Path) -> Path:
    assert cli.main(["sample", str(runs.style), "--num", "1", "--classes", "1", "--seed", "5", "--out", str(folder / "own.png")]) == 0
    return folder / "own.png"


@pytest.mark.parametrize("space", ["w", "w+"])
def test_an_image_of_the_generator_is_recovered(runs: Runs, space: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, out = own_image(runs, tmp_path), tmp_path / "found"
    words = ["project", str(runs.style), str(image), "--out", str(out), "--space", space, "--class", "1", "--steps", "150"]
    assert cli.main(words) == 0
    assert "distance" in capsys.readouterr().out
    record, w = json.loads((out / "projection.json").read_text()), load_file(out / "w.safetensors")["w"]
    target, found = (np.asarray(Image.open(file)).astype(float) for file in (image, out / "projected.png"))
    apart = float(np.sqrt(((target - found) ** 2).mean())) / 127.5
    assert apart == pytest.approx(record["pixels_rms"]["result"], abs=1 / 127.5)
    assert apart < record["pixels_rms"]["start"] / 5
    assert record["distance"]["result"] < record["distance"]["start"] / 25
    assert np.array_equal(to_uint8(images_of(runs.model, w[None]))[0].permute(1, 2, 0).numpy(), found)
    assert len(np.unique(w.numpy(), axis=0)) == (1 if space == "w" else len(w))
    assert Image.open(out / "comparison.png").size == (3 * 16, 16)


def test_the_same_seed_gives_the_same_w(runs: Runs, tmp_path: Path) -> None:
    image = own_image(runs, tmp_path)
    for name in ("a", "b", "a"):  # over what it made before, too
        assert cli.main(["project", str(runs.style), str(image), "--out", str(tmp_path / name), "--steps", "5"]) == 0
    assert (tmp_path / "a/w.safetensors").read_bytes() == (tmp_path / "b/w.safetensors").read_bytes()


def test_descent_finds_the_minimum_of_a_quadratic() -> None:
    aim = torch.tensor([1.0, -2.0, 0.5])
    spread = Spread(torch.zeros(3), 1.0)
    w, course = descend(lambda ws: ws, 2, spread, lambda ws: (ws - aim).square().flatten(1).sum(1), Settings(steps=300))
    torch.testing.assert_close(w, aim.repeat(2, 1), atol=1e-2, rtol=0)
    assert len(course) == 300


def test_a_larger_image_is_cut_and_resized(tmp_path: Path) -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:, 10:50] = 255  # the centre square
    Image.fromarray(picture).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png", ImageSpec(16, 16, 3, 0))
    assert read.shape == (1, 3, 16, 16)
    assert (read == 1).all()
    assert read_image(tmp_path / "a.png", ImageSpec(16, 16, 1, 0)).shape == (1, 1, 16, 16)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(ConfigError, match="give a PNG, JPEG or WebP file"):
        read_image(tmp_path / "a.png", ImageSpec(16, 16, 3, 0))
    with pytest.raises(ConfigError, match="No such file"):
        read_image(tmp_path / "b.png", ImageSpec(16, 16, 3, 0))


def test_a_model_without_w_is_refused(runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = own_image(runs, tmp_path)
    capsys.readouterr()
    assert cli.main(["project", str(runs.plain), str(image), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "project needs a w, which a gan has not" in line
    assert not (tmp_path / "out").exists()
