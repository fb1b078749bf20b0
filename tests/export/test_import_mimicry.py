"""Generators of mimicry's SNGAN and SAGAN do here what they do there; and nothing in a file is executed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from biggan_scale.config import CheckpointError, ConfigError
from biggan_scale.export.importers import import_checkpoint, mimicry
from biggan_scale.export.importers._torch_file import State
from biggan_scale.export.importers.mimicry import Overrides
from biggan_scale.export.load import load
from support.torch_spectral_norm import power_iterated

COMPAT = Path(__file__).parents[1] / "compat"
CASES = {folder.name: folder for folder in sorted((COMPAT / "mimicry").iterdir())}
every_case = pytest.mark.parametrize("case", CASES)


@cache
def vectors(case: str) -> dict[str, Tensor]:
    return load_file(CASES[case] / "vectors.safetensors")


def read(case: str) -> State:
    return mimicry.read(mimicry.find(CASES[case] / "log", Overrides()))


def assert_their_images(images: Tensor, case: str, call: str) -> None:
    calls = json.loads((CASES[case] / "manifest.json").read_text())["calls"]
    (expected,) = (one["outputs"]["out"] for one in calls if one["name"] == call)
    torch.testing.assert_close(images, vectors(case)[expected["key"]], rtol=0, atol=expected["accept_atol"])


@every_case
def test_eval_mode_gives_their_images(case: str) -> None:
    network = mimicry.convert(read(case), "x.pth").network.eval()
    with torch.no_grad():
        assert_their_images(network(vectors(case)["in/z"], vectors(case).get("in/y")), case, "G.eval")


@every_case
def test_training_mode_gives_their_images_and_statistics(case: str) -> None:
    """Their u and v move by one iteration before each use; here weights are plain, so the file's are moved before it is converted."""
    moved = power_iterated(read(case), eps=1e-12)
    network = mimicry.convert(moved, "x.pth").network.train()
    with torch.no_grad():
        assert_their_images(network(vectors(case)["in/z"], vectors(case).get("in/y")), case, "G.train")
    after = {name.removeprefix("after/G.train/"): v for name, v in vectors(case).items() if name.startswith("after/G.train/")}
    theirs = mimicry.renamed({name: v for name, v in after.items() if ".running_" in name}, 3, None)
    statistics = {name: v for name, v in network.state_dict().items() if ".running_" in name}
    assert statistics.keys() == theirs.keys()
    for name, value in statistics.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-5, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


@every_case
def test_an_import_is_an_export_that_loads(case: str, tmp_path: Path) -> None:
    notes = import_checkpoint(CASES[case] / "log", "mimicry", tmp_path / "out")
    assert notes[0] == "G from netG_100000_steps.pth"
    model = load(tmp_path / "out")
    assert model.provenance["imported_from"] == "mimicry" and model.provenance["notes"] == notes
    with torch.no_grad():
        assert_their_images(model.generator(vectors(case)["in/z"], vectors(case).get("in/y")), case, "G.eval")
    settings = json.loads((CASES[case] / "manifest.json").read_text())["constructor"]["G"]["kwargs"]
    game = model.config.game.config
    assert game.prior.config.dim == settings["nz"] and 4 * game.generator.config.channels == settings["ngf"]
    assert game.generator.config.attention == ((16,) if case == "sagan32" else ())
    assert model.config.data.num_classes == settings.get("num_classes", 0)
    assert model.sample(2, seed=0, classes=[1] if "num_classes" in settings else None).shape == (2, 3, 32, 32)


def of_64_px(**added: Tensor) -> State:
    """That project's widths at 64 px: ngf, then halved by each block. Made of ones: shapes are what is tested."""
    widths = (64, 32, 16, 8, 4)
    state = {"l1.weight": torch.ones(64 * 16, 5), "l1.bias": torch.zeros(64 * 16)}
    state |= {"c6.weight": torch.ones(3, 4, 3, 3), "c6.bias": torch.zeros(3)}
    for i in range(4):
        a, b = widths[i], widths[i + 1]
        for name, channels, side in (("c1", a, 3), ("c2", b, 3), ("c_sc", a, 1)):
            state[f"block{i + 2}.{name}.weight"], state[f"block{i + 2}.{name}.bias"] = torch.ones(b, channels, side, side), torch.zeros(b)
    norms = {f"block{i + 2}.b{k}": widths[i + k - 1] for i in range(4) for k in (1, 2)} | {"b6": 4}
    for norm, width in norms.items():
        state |= {f"{norm}.{name}": torch.ones(width) for name in ("weight", "bias", "running_mean", "running_var")}
    return state | {name.replace("__", "."): value for name, value in added.items()}


def attending(width: int) -> dict[str, Tensor]:
    shapes = {"theta": (width // 8, width), "phi": (width // 8, width), "g": (width // 2, width), "o": (width, width // 2)}
    layers = {f"attn_block__{name}__weight": torch.ones(*shape, 1, 1) for name, shape in shapes.items()}
    return {**layers, "attn_block__gamma": torch.tensor(0.5)}


def test_a_larger_generator_attends_where_the_width_says() -> None:
    found = mimicry.convert(of_64_px(**attending(8)), "x.pth")
    config: Any = found.network.config
    assert (found.spec.resolution, found.latent_dim, found.spec.num_classes) == (64, 5, 0)
    assert (config.channels, config.widths, config.attention) == (4, (16, 8, 4, 2, 1), (32,))
    assert found.network.eval()(torch.randn(2, 5)).shape == (2, 3, 64, 64)


def test_a_folders_generators_can_be_chosen(tmp_path: Path) -> None:
    folder = tmp_path / "log/checkpoints/netG"
    shutil.copytree(CASES["sngan32"] / "log/checkpoints/netG", folder)
    shutil.copy(folder / "netG_100000_steps.pth", folder / "netG_9000_steps.pth")
    assert mimicry.find(tmp_path / "log", Overrides()).name == "netG_100000_steps.pth"
    assert mimicry.find(folder, Overrides(step=9000)).name == "netG_9000_steps.pth"
    assert mimicry.find(folder / "netG_9000_steps.pth", Overrides()).name == "netG_9000_steps.pth"
    with pytest.raises(CheckpointError, match=r"no netG_5_steps\.pth; there are 9000, 100000$"):
        mimicry.find(folder.parent, Overrides(step=5))
    with pytest.raises(ConfigError, match="step"):
        import_checkpoint(folder, "mimicry", tmp_path / "out", ["step=last"])


@pytest.mark.parametrize("file", ["G_ema.pth", "persistence_src.pkl", "reduce_eval.pkl", "manifest.json"])
def test_hostile_files_are_refused_and_do_not_run(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r": (refused|cannot be read)") as error:
        import_checkpoint(COMPAT / "hostile" / file, "mimicry", tmp_path / "out")
    assert file in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def saved(content: object) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        torch.save(content, folder / "netG_1_steps.pth")
        return folder

    return make


def changed(remove: str = "", **added: Tensor) -> Callable[[Path], Path]:
    """The small SAGAN without the tensors whose name begins so, and with others."""
    state = {name: value for name, value in read("sagan32").items() if not remove or not name.startswith(remove)}
    return saved({"model_state_dict": state | {name.replace("__", "."): value for name, value in added.items()}})


OTHERS = {
    "empty": (lambda folder: folder, r"no netG_N_steps\.pth"),
    "bare": (lambda folder: COMPAT / "biggan_deep_hf/r32/pytorch_model.bin", "no model_state_dict of tensors"),
    "discriminator": (saved({"model_state_dict": {"block1.c1.weight_orig": torch.zeros(1, 4)}}), "not a residual generator"),
    "sigma": (changed("block3.c1.weight_u"), r"not a BigGAN: no tensor 'block3\.c1\.weight_u'"),
    "bias": (changed("block4.c1.bias"), r"blocks\.2\.conv1\.bias"),
    "shape": (changed(l1__bias=torch.zeros(4)), "not the shapes of a BigGAN: .*linear.bias"),
    "unknown": (changed(extra__weight=torch.zeros(4)), r"not the shapes of a BigGAN: .*extra\.weight"),
    "nowhere": (saved({"model_state_dict": of_64_px(**attending(24))}), "self-attention on 24 channels, which 0 blocks give"),
    "width": (saved({"model_state_dict": of_64_px(l1__weight=torch.ones(66 * 16, 5))}), r"widths \[66, 32, 16, 8, 4\], not multiples"),
}


@pytest.mark.parametrize(("make", "message"), OTHERS.values(), ids=OTHERS)
def test_what_cannot_be_imported_is_said_in_one_line(make: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message) as error:
        mimicry.to_game_state(make(tmp_path), Overrides())
    assert "\n" not in str(error.value)
