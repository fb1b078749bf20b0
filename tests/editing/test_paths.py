"""Path lengths: against a closed form where the generator is linear, and through the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from biggan_scale import cli
from biggan_scale.editing.paths import steps
from biggan_scale.editing.styles import style_game, ws_of
from biggan_scale.export.load import load
from biggan_scale.metrics.perceptual_path import lengths, mean_without_outliers
from editing.conftest import Runs
from support.shards import make_shards


class Linear(torch.nn.Module):
    """The mean w through a matrix to an image of 1 x 4 x 4."""

    def __init__(self, matrix: torch.Tensor) -> None:
        super().__init__()
        self.matrix = matrix

    def forward(self, ws: torch.Tensor) -> torch.Tensor:
        return (ws.mean(1) @ self.matrix.T).view(-1, 1, 4, 4)


def test_on_a_linear_generator_the_length_is_that_of_the_images_difference(runs: Runs) -> None:
    model = runs.model
    game = style_game(model, "test").double()
    model.dtype = torch.float64
    matrix = torch.randn(16, game.G.config.w_dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    game.G.synthesis = Linear(matrix)
    near, far = steps(model, range(6), seed=3, truncation=0.7)
    found = lengths(near, far)
    draw = model.latents(range(12), 3, 0.7, None)
    draw["y"][1::2] = draw["y"][::2]  # a way has one class
    w = ws_of(model, draw)[:, 0]
    expected = ((w[1::2] - w[::2]) @ matrix.T).square().sum(1)  # |J (b - a)|^2, wherever on the way
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_the_mean_leaves_out_a_hundredth_on_either_side() -> None:
    assert mean_without_outliers(torch.cat([torch.ones(98), torch.tensor([1e9, 0.0])])[torch.randperm(100)]) == 1
    assert mean_without_outliers(torch.tensor([2.0, 4.0])) == 3


@pytest.mark.parametrize(("kind", "space"), [("style", "w"), ("plain", "z")])
def test_evaluate_measures_path_lengths_where_the_model_has_its_latents(
    runs: Runs, kind: str, space: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, size = getattr(runs, kind), {"style": 16, "plain": 32}[kind]
    data = make_shards(tmp_path, num=8, resolution=(size, size)).dataset.path
    words = ["evaluate", str(source), "--data", str(data), "--metrics", "ppl", "--features", "pixels", "--num", "10", "--json"]
    assert cli.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    expected = lengths(*(images.float().flatten(1) for images in pixels_of_steps(source)))
    assert found["metrics"]["ppl"]["value"] == pytest.approx(mean_without_outliers(expected[:10]), rel=1e-4)
    assert found["metrics"]["ppl"]["space"] == space
    assert found["fake"]["num"] == 10


def pixels_of_steps(source: Path) -> tuple[torch.Tensor, torch.Tensor]:
    return steps(load(source), range(16), 0, None)
