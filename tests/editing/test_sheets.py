"""Sheets through the command: what is in which cell, and what is refused."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from biggan_scale import cli
from biggan_scale.data.pixels import to_uint8
from biggan_scale.editing.styles import images_of, style_game, style_weights, ws_of
from biggan_scale.export.load import load
from editing.conftest import Runs


def drawn(source: Path, kind: str, num: int, folder: Path, *more: str) -> list[list[np.ndarray]]:
    """The sheet's cells, row by row, (H, W, C) each."""
    out = folder / "sheet.png"
    assert cli.main(["sample", str(source), "--sheet", kind, "--num", str(num), "--out", str(out), *more]) == 0
    picture, size = np.asarray(Image.open(out)), load(source).spec.height
    return [np.split(row, picture.shape[1] // size, axis=1) for row in np.split(picture, picture.shape[0] // size)]


def pixels(images: torch.Tensor) -> list[np.ndarray]:
    return list(to_uint8(images).permute(0, 2, 3, 1).numpy())


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("kind", ["style", "plain"])
def test_a_truncation_sheet_has_a_row_a_sample_from_as_trained_to_ever_more_truncated(runs: Runs, kind: str, tmp_path: Path) -> None:
    source = getattr(runs, kind)
    cells, model = drawn(source, "truncation", 3, tmp_path, "--classes", "1"), load(source)
    for column, truncation in enumerate((None, 0.8, 0.6, 0.4, 0.2, 0.1)):
        assert same([row[column] for row in cells], pixels(model.sample(3, truncation=truncation, classes=[1])))


@pytest.mark.parametrize("kind", ["style", "plain"])
def test_an_interpolation_sheet_goes_from_each_even_sample_to_the_odd_one(runs: Runs, kind: str, tmp_path: Path) -> None:
    source = getattr(runs, kind)
    cells = drawn(source, "interpolation", 2, tmp_path, "--classes", "2", "--seed", "3")
    ends = pixels(load(source).sample(4, seed=3, classes=[2]))
    for row, start, end in zip(cells, ends[::2], ends[1::2], strict=True):
        steps = np.stack(row).astype(int)
        assert np.abs(steps[0] - start).max() <= 1
        assert np.abs(steps[-1] - end).max() <= 1
        assert all(np.abs(a - b).max() < np.abs(steps[0] - steps[-1]).max() for a, b in itertools.pairwise(steps))


def test_a_mixing_sheet_takes_a_third_of_the_layers_from_above(runs: Runs, tmp_path: Path) -> None:
    cells, model = drawn(runs.style, "mixing", 2, tmp_path, "--classes", "0"), runs.model
    samples = pixels(model.sample(4, classes=[0]))
    ws = ws_of(model, model.latents(range(4), 0, None, [0]))
    num_ws = ws.shape[1]
    assert not cells[0][0].any()
    assert same(cells[0][1:], samples[2:])
    assert len(cells) == 1 + 3 * 2
    for i, row in enumerate(cells[1:]):
        band, left = divmod(i, 2)
        first, last = round(band * num_ws / 3), round((band + 1) * num_ws / 3)
        mixed = ws[left].repeat(2, 1, 1)
        mixed[:, first:last] = ws[2:, first:last]
        assert np.array_equal(row[0], samples[left])
        assert same(row[1:], pixels(images_of(model, mixed)))


def test_a_directions_sheet_moves_w_along_the_singular_vectors_of_the_style_layers(runs: Runs, tmp_path: Path) -> None:
    cells, model = drawn(runs.style, "directions", 2, tmp_path, "--classes", "1"), runs.model
    vectors = np.linalg.svd(style_weights(style_game(model, "test")).numpy())[2]  # strongest first
    w = ws_of(model, model.latents(range(1000), 0, None, [1]))[:, 0]
    for row, vector in zip(cells, vectors, strict=False):
        step = torch.from_numpy(vector * np.sign(vector[np.abs(vector).argmax()]))
        unit = (w @ step).std()
        moved = torch.stack([w[0] + k * unit * step for k in (-3, -2, -1, 0, 1, 2, 3)])
        expected = pixels(images_of(model, moved[:, None].repeat(1, ws_of(model, model.latents([0], 0, None, [1])).shape[1], 1)))
        assert max(np.abs(a.astype(int) - b).max() for a, b in zip(row, expected, strict=True)) <= 1
    assert np.array_equal(cells[0][3], pixels(model.sample(1, classes=[1]))[0])


@pytest.mark.parametrize(
    ("source", "arguments", "said"),
    [
        ("plain", ["--sheet", "mixing", "--num", "2"], "--sheet mixing needs a w, which a gan has not; take a model of game stylegan2"),
        ("plain", ["--sheet", "directions", "--num", "2"], "--sheet directions needs a w, which a gan has not"),
        ("style", ["--sheet", "directions", "--num", "99"], "--num 99: w has 8 directions"),
        ("style", ["--sheet", "truncation", "--num", "2", "--truncation", "0.5"], "leave --truncation out"),
        ("style", ["--sheet", "mixing", "--num", "2", "--classes", "7"], "classes [7]: the model has 0 to 2"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(
    runs: Runs, source: str, arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["sample", str(getattr(runs, source)), "--out", str(tmp_path / "a.png"), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "a.png").exists()


def test_a_sheet_is_a_png(runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sample", str(runs.style), "--sheet", "mixing", "--num", "2", "--out", str(tmp_path)]) == 2
    assert "a sheet is one picture; name a FILE.png" in capsys.readouterr().err
