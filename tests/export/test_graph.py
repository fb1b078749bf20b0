"""Exports as graphs: they answer as the networks do, without this package."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from biggan_scale.config import EnvironmentFault, load_config
from biggan_scale.export import graph
from biggan_scale.export.hub import export_run
from biggan_scale.export.load import load
from export.conftest import Trained
from support.runs import make_run
from support.tiny import shrink


def answers(place: Path, program: str) -> torch.Tensor:
    """What lines without this package make of the inputs in `inputs.pt`."""
    lines = f"import torch\ninputs = torch.load('inputs.pt')\n{program}\nimport sys\nassert 'biggan_scale' not in sys.modules"
    subprocess.run([sys.executable, "-I", "-c", f"{lines}\ntorch.save(answer, 'answer.pt')"], cwd=place, check=True, timeout=120)
    answer: torch.Tensor = torch.load(place / "answer.pt", weights_only=True)
    return answer


PROGRAM = "answer = torch.export.load('{name}.pt2').module()(*inputs.values())"
ONNX = """
import onnxruntime
session = onnxruntime.InferenceSession('{name}.onnx')
answer = torch.from_numpy(session.run(None, {{name: t.numpy() for name, t in inputs.items()}})[0])
"""


@pytest.mark.parametrize(
    "format_, lines", [("torch-export", PROGRAM), pytest.param("onnx", ONNX, marks=pytest.mark.slow)], ids=["torch-export", "onnx"]
)
def test_graphs_answer_as_the_model_does(bigbigan: Path, tmp_path: Path, format_: str, lines: str) -> None:
    export_run(bigbigan, tmp_path / "out", format_)
    model = load(tmp_path / "out")
    draw = model.latents(range(7), 3, None, None)
    torch.save(draw, tmp_path / "out" / "inputs.pt")
    torch.testing.assert_close(answers(tmp_path / "out", lines.format(name="generator")), model.game.generate(draw), rtol=1e-4, atol=1e-5)
    images = torch.rand(3, 3, 32, 32)
    torch.save({"images": images}, tmp_path / "out" / "inputs.pt")
    torch.testing.assert_close(answers(tmp_path / "out", lines.format(name="encoder")), model.encoder(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("format_", ["onnx", pytest.param("torch-export", marks=pytest.mark.slow)])
def test_an_export_as_a_graph_tells_nothing_of_the_machine_and_its_card_runs(trained: Trained, tmp_path: Path, format_: str) -> None:
    export_run(trained.export, tmp_path / "out", format_)  # an imported model is an export, and wants a graph too
    (content,) = (path.read_bytes() for path in (tmp_path / "out").glob("generator.*"))
    assert str(Path(graph.__file__).parents[2]).encode() not in content
    card = (tmp_path / "out" / "README.md").read_text()
    assert re.search(r"z \(N, 16\) float32, y \(N,\) int64 to images \(N, 3, 32, 32\); differs from the network by \d\.\de-\d\d", card)
    lines = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[1].replace("PATH/OF/THIS/FOLDER", str(tmp_path / "out"))
    done = subprocess.run([sys.executable, "-I", "-c", f"{lines}\nprint(tuple(images.shape))"], capture_output=True, text=True, timeout=120)
    assert done.stdout == "(16, 3, 32, 32)\n", done.stderr


def test_truncation_in_w_is_an_input(tmp_path: Path) -> None:
    make_run(tmp_path / "run", shrink(load_config("stylegan2_tiny").config, batch_size=4, micro_batch=None), rounds=1)
    export_run(tmp_path / "run", tmp_path / "out", "torch-export")
    model = load(tmp_path / "out")
    program = torch.export.load(tmp_path / "out" / "generator.pt2").module()
    for truncation in (0.3, 1.0):
        draw = model.latents(range(8), 0, truncation, None)
        torch.testing.assert_close(program(draw["z"], draw["y"], draw["psi"]), model.sample(8, truncation=truncation), rtol=1e-4, atol=1e-5)


def test_a_graph_that_answers_otherwise_is_not_published(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "TOLERANCE", -1.0)
    with pytest.raises(EnvironmentFault, match=r"generator.pt2: answers otherwise than the network, by \d"):
        export_run(trained.run, tmp_path / "out", "torch-export")
    assert not any(tmp_path.iterdir())


def test_what_is_missing_is_told_before_anything_is_done(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else found(name))
    with pytest.raises(EnvironmentFault, match=r"--format onnx needs onnxscript; pip install 'biggan_scale\[onnx\]'"):
        export_run(trained.run, tmp_path / "out", "onnx")
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["onnx", "torch-export"])
@pytest.mark.parametrize(
    "page", ["tiny", "progan_tiny", "r3gan_tiny", "stylegan1_tiny", "stylegan2_tiny", "stylegan3_tiny", "infogan_fashion_mnist32"]
)
def test_every_generator_has_its_graph(page: str, format_: str, tmp_path: Path) -> None:
    make_run(tmp_path / "run", shrink(load_config(page).config, batch_size=4, micro_batch=None), rounds=1)
    export_run(tmp_path / "run", tmp_path / "out", format_)
    assert load(tmp_path / "out").sample(2).isfinite().all()


@pytest.fixture(scope="module")
def bigbigan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a game whose encoder sees larger images than its generator draws."""
    place = tmp_path_factory.mktemp("bigbigan") / "run"
    make_run(place, shrink(load_config("bigbigan_tiny").config, batch_size=4, micro_batch=None), rounds=1)
    return place
