from __future__ import annotations

import dataclasses
import json
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor

from biggan_scale.config import CheckpointError, ConfigError, EnvironmentFault, load_config, pages, to_tree
from biggan_scale.export.hub import export_run, write_export
from biggan_scale.export.load import load
from biggan_scale.networks.biggan import Generator, GeneratorConfig
from export.conftest import Trained
from support.runs import make_run
from support.tiny import shrink, tiny_config

ROOT = Path(__file__).resolve().parents[2]


def read_by_hand(path: Path) -> dict[str, Tensor]:
    """A safetensors file: 8 bytes length, a JSON header, then the tensors' bytes."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        assert entry["dtype"] == "F32"
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = torch.from_numpy(np.frombuffer(content[begin:end], np.float32).reshape(entry["shape"]).copy())
    return tensors


def test_plain_weights_draw_the_averaged_models_images(trained: Trained) -> None:
    weights = read_by_hand(trained.export / "model.safetensors")
    config = trained.engine.game.G.config
    plain = Generator(GeneratorConfig(**{**dataclasses.asdict(config), "spectral_norm": False}), trained.engine.game.spec, 16)
    plain.load_state_dict({name.removeprefix("G."): tensor for name, tensor in weights.items()})
    z, y = torch.randn(8, 16, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 5
    with torch.no_grad(), trained.engine.ema.applied():
        trained.engine.game.eval()
        torch.testing.assert_close(plain.eval()(z, y), trained.engine.game.G(z, y), rtol=0, atol=2e-6)
        trained.engine.game.train()


def test_an_export_has_config_weights_card_and_samples(trained: Trained) -> None:
    assert {path.name for path in trained.export.iterdir()} == {"config.json", "model.safetensors", "README.md", "samples.png"}
    about = json.loads((trained.export / "config.json").read_text())
    assert (about["format"], about["version"]) == ("biggan_scale-export", 1)
    assert about["config"] == json.loads(json.dumps(to_tree(trained.engine.config)))
    assert Image.open(trained.export / "samples.png").size == (8 * 32, 5 * 32)
    assert {path.name for path in trained.export.parent.iterdir()} == {"run", "export"}  # nothing temporary is left


def test_whoever_may_read_an_exports_config_may_read_its_weights(trained: Trained) -> None:
    assert (trained.export / "model.safetensors").stat().st_mode == (trained.export / "config.json").stat().st_mode


def test_card_says_what_the_checkpoint_knows(trained: Trained) -> None:
    card = (trained.export / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["library_name"] == "biggan_scale"
    assert {"gan", "biggan"} <= set(head["tags"])
    for fact in (load(trained.export).provenance["state_sha256"], "f" * 64, "0.0.test", "`nimg`: 32", "5 classes"):
        assert fact in card


def test_the_lines_on_the_card_run(trained: Trained) -> None:
    (lines,) = re.findall(r"```python\n(.*?)```", (trained.export / "README.md").read_text(), re.DOTALL)
    program = lines.replace("PATH/OF/THIS/FOLDER", str(trained.export)) + "\nprint(tuple(images.shape))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout == "(16, 3, 32, 32)\n", done.stderr


def test_an_export_is_not_exported_again(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is an export already"):
        export_run(trained.export, tmp_path / "again")


def test_an_export_is_replaced(trained: Trained, tmp_path: Path) -> None:
    export_run(sorted((trained.run / "checkpoints").iterdir())[0], tmp_path / "out")
    export_run(trained.run, tmp_path / "out")
    assert load(tmp_path / "out").provenance["nimg"] == trained.engine.clock.nimg
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("content", ["notes.txt", "config.json"])
def test_anything_else_is_not_replaced(trained: Trained, tmp_path: Path, content: str) -> None:
    (tmp_path / content).write_text("{}")
    with pytest.raises(ConfigError, match="exists and is not an export"):
        export_run(trained.run, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [content]


def test_weights_that_do_not_fit_are_not_published(trained: Trained, tmp_path: Path) -> None:
    export_run(trained.run, tmp_path / "out")
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    weights = load(trained.run).generator.state_dict()
    del weights["linear.bias"]
    with pytest.raises(CheckpointError, match=r"G.linear.bias is missing, the model's is \(256,\) \(1 such tensors\)"):
        write_export(tmp_path / "out", to_tree(trained.engine.config), {"G": weights}, {})
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_place_that_cannot_be_written_is_told(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        export_run(trained.run, tmp_path / "file" / "out")


def test_standing_statistics_are_stored(tmp_path: Path) -> None:
    make_run(tmp_path / "run", tiny_config("ema.standing_batches=2", "precision=fp32"))
    export_run(tmp_path / "run", tmp_path / "out")
    exported, model = load(tmp_path / "out"), load(tmp_path / "run")
    assert exported.provenance == model.provenance
    assert torch.equal(exported.sample(8), model.sample(8))


@pytest.mark.parametrize("page", [name for name in pages.names() if not name.startswith("base/")])
def test_every_page_makes_a_model_to_export_and_load(page: str, tmp_path: Path) -> None:
    make_run(tmp_path / "run", shrink(load_config(page).config, batch_size=4, micro_batch=None), rounds=1)
    export_run(tmp_path / "run", tmp_path / "out")
    assert load(tmp_path / "out").sample(2).isfinite().all()
