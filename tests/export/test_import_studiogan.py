"""Generators of PyTorch-StudioGAN's BigGAN and BigGAN-deep do here what they do there; and nothing in a file is executed."""

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

from biggan_scale.config import CheckpointError
from biggan_scale.export.importers import _biggan, import_checkpoint, studiogan
from biggan_scale.export.importers._torch_file import State
from biggan_scale.export.importers.studiogan import Overrides
from biggan_scale.export.load import load
from support.torch_spectral_norm import power_iterated

COMPAT = Path(__file__).parents[1] / "compat"
CASES = {folder.name: folder for folder in sorted((COMPAT / "studiogan").iterdir())}
CALLS = [
    pytest.param(case, call, id=f"{case}-{call['name']}")
    for case, folder in CASES.items()
    for call in json.loads((folder / "manifest.json").read_text())["calls"]
    if call["name"].startswith("G")
]


@cache
def vectors(case: str) -> dict[str, Tensor]:
    return load_file(CASES[case] / "vectors.safetensors")


def run_of(case: str) -> Path:
    """The folder that project wrote."""
    (folder,) = (CASES[case] / "checkpoints").iterdir()
    return folder


def file_of(case: str, which: str) -> Path:
    (file,) = run_of(case).glob(f"model={which}-best-weights-step=*.pth")
    return file


def read(case: str, which: str = "G_ema") -> State:
    return studiogan.read(file_of(case, which))


@pytest.mark.parametrize(("case", "call"), [one for one in CALLS if one.values[1]["mode"] == "eval"])  # type: ignore[index]
def test_eval_mode_gives_their_images(case: str, call: dict[str, Any]) -> None:
    network = studiogan.convert(read(case, call["name"].split(".")[0]), "x.pth").network.eval()
    expected = call["outputs"]["out"]
    with torch.no_grad():
        images = network(vectors(case)["in/z"], vectors(case)["in/y"])
    torch.testing.assert_close(images, vectors(case)[expected["key"]], rtol=0, atol=expected["accept_atol"])


@pytest.mark.parametrize(("case", "call"), [one for one in CALLS if one.values[1]["mode"] == "train"])  # type: ignore[index]
def test_training_mode_gives_their_images_and_statistics(case: str, call: dict[str, Any]) -> None:
    """Their u and v move by one iteration before each use; here weights are plain, so the file's are moved before it is converted."""
    after = {name.removeprefix("after/G.train/"): v for name, v in vectors(case).items() if name.startswith("after/")}
    before = read(case, "G")
    moved = power_iterated(before, eps=1e-6)
    for name in (name for name in after if name.endswith(("weight_u", "weight_v"))):
        torch.testing.assert_close(moved[name], after[name], rtol=0, atol=1e-5)
        assert not torch.equal(before[name], after[name]) or len(after[name]) == 1
    network = studiogan.convert(moved, "x.pth").network.train()
    expected = call["outputs"]["out"]
    with torch.no_grad():
        images = network(vectors(case)["in/z"], vectors(case)["in/y"])
    torch.testing.assert_close(images, vectors(case)[expected["key"]], rtol=0, atol=expected["accept_atol"])

    ours = _biggan.entries(before, r"blocks\.(\d+)\.0\.", "sigma")
    theirs = studiogan.renamed({name: v for name, v in after.items() if name.endswith(("running_mean", "running_var"))}, ours)
    statistics = {name: v for name, v in network.state_dict().items() if ".running_" in name}
    assert statistics.keys() == theirs.keys()
    for name, value in statistics.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-5, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("case", CASES)
def test_an_import_is_an_export_that_loads(case: str, tmp_path: Path) -> None:
    notes = import_checkpoint(run_of(case), "studiogan", tmp_path / "out")
    assert notes[0] == f"G from {run_of(case).name}/{file_of(case, 'G_ema').name}" and "epsilons" in notes[1]
    model = load(tmp_path / "out")
    assert model.provenance["imported_from"] == "studiogan" and model.provenance["notes"] == notes
    (expected,) = (one.values[1]["outputs"]["out"] for one in CALLS if one.values[0] == case and one.values[1]["name"] == "G_ema.eval")  # type: ignore[index]
    with torch.no_grad():
        images = model.generator(vectors(case)["in/z"], vectors(case)["in/y"])
    torch.testing.assert_close(images, vectors(case)[expected["key"]], rtol=0, atol=expected["accept_atol"])
    settings = json.loads((CASES[case] / "manifest.json").read_text())["constructor"]["G"]["kwargs"]
    config = model.config.game.config
    generator = config.generator.config
    assert generator.channels == settings["g_conv_dim"] and generator.attention == (16,) and config.prior.config.dim == settings["z_dim"]
    assert (generator.bn_eps, generator.output_bn_eps, generator.sn_eps) == (1e-4, 1e-4, 1e-6)
    assert model.sample(2, seed=0, classes=[1]).shape == (2, 3, 32, 32)


def test_a_folders_generators_can_be_chosen(tmp_path: Path) -> None:
    run = run_of("biggan_r32")
    assert studiogan.find(run, Overrides()).name.startswith("model=G_ema-best")
    assert studiogan.find(run.parent, Overrides("G-best")).name.startswith("model=G-best")
    shutil.copytree(run, tmp_path / "saved/checkpoints/run")
    assert studiogan.find(tmp_path / "saved", Overrides()).parent.name == "run"
    with pytest.raises(CheckpointError, match=r"no model=G-current-weights-step=N\.pth; there are model=G-best"):
        studiogan.find(run, Overrides("G-current"))
    for step in (1, 2):
        (tmp_path / f"model=G-current-weights-step={step}.pth").touch()
    with pytest.raises(CheckpointError, match=r"several files of G-current: .*step=1\.pth, .*step=2\.pth; name one"):
        studiogan.find(tmp_path, Overrides())


def test_a_generator_of_64_px_has_that_projects_widths() -> None:
    """Which are not the paper's: 8, 4, 2 and 1 times g_conv_dim after the blocks, from 16. Made of ones: shapes are what is tested."""
    state: State = {}

    def layer(name: str, *shape: int) -> None:
        state[f"{name}.weight"] = torch.ones(*shape)

    widths = (32, 16, 8, 4, 2)
    layer("shared", 5, 6), layer("linear0", widths[0] * 16, 3), layer("conv2d5", 3, widths[-1], 3, 3)
    state["linear0.bias"], state["conv2d5.bias"] = torch.zeros(widths[0] * 16), torch.zeros(3)
    for i in range(4):
        a, b = widths[i], widths[i + 1]
        for k, (channels, side) in enumerate(((a, 1), (a, 3), (b, 3))):
            layer(f"blocks.{i}.0.conv2d{k}", b, channels, side, side)
            state[f"blocks.{i}.0.conv2d{k}.bias"] = torch.zeros(b)
        for k, channels in ((1, a), (2, b)):
            layer(f"blocks.{i}.0.bn{k}.gain", channels, 9), layer(f"blocks.{i}.0.bn{k}.bias", channels, 9)
            state[f"blocks.{i}.0.bn{k}.bn.running_mean"] = state[f"blocks.{i}.0.bn{k}.bn.running_var"] = torch.ones(channels)
    for name in ("weight", "bias", "running_mean", "running_var"):
        state[f"bn4.{name}"] = torch.ones(widths[-1])
    found = studiogan.convert(state, "x.pth")
    assert (found.spec.resolution, found.latent_dim, found.network.config.channels) == (64, 15, 2)
    assert found.network.config.widths == (16, 8, 4, 2, 1) and not found.network.config.spectral_norm  # type: ignore[union-attr]
    assert found.network.eval()(torch.randn(2, 15), torch.arange(2)).shape == (2, 3, 64, 64)


@pytest.mark.parametrize("file", ["G_ema.pth", "persistence_src.pkl", "reduce_eval.pkl", "manifest.json"])
def test_hostile_files_are_refused_and_do_not_run(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r": (refused|cannot be read)") as error:
        import_checkpoint(COMPAT / "hostile" / file, "studiogan", tmp_path / "out")
    assert file in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def saved(content: object) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        torch.save(content, folder / "model=G-best-weights-step=1.pth")
        return folder

    return make


def changed(remove: str = "", **added: Tensor) -> Callable[[Path], Path]:
    """The small BigGAN without the tensors whose name begins so, and with others."""
    state = {name: value for name, value in read("biggan_r32").items() if not remove or not name.startswith(remove)}
    return saved({"state_dict": state | {name.replace("__", "."): value for name, value in added.items()}})


def truncated(folder: Path) -> Path:
    file = folder / "model=G-best-weights-step=1.pth"
    file.write_bytes(file_of("biggan_r32", "G").read_bytes()[:5000])
    return file


def of_two_runs(folder: Path) -> Path:
    for name in ("a", "b"):
        shutil.copytree(run_of("biggan_r32"), folder / name)
    return folder


OTHERS = {
    "empty": (lambda folder: folder, r"no model=\*\.pth files"),
    "two": (of_two_runs, "several runs: a, b; name one"),
    "truncated": (truncated, "cannot be read as a torch file"),
    "bare": (lambda folder: COMPAT / "biggan_deep_hf/r32/pytorch_model.bin", "no state_dict of tensors"),
    "optimizer": (saved({"optimizer": {}}), "no state_dict of tensors"),
    "other": (saved({"state_dict": {"some.weight": torch.zeros(1)}}), "another network of that project; only its BigGAN"),
    "discriminator": (saved({"state_dict": {"linear1.weight_orig": torch.zeros(1, 4)}}), "a discriminator; only generators are read"),
    "codes": (changed(info_mix_linear__weight=torch.zeros(1, 1)), r"takes InfoGAN's codes \(info_mix_linear\.weight\)"),
    "unconditional": (changed("shared."), r"without a shared class embedding \(g_cond_mtd W/O\) are not supported"),
    "sigma": (changed("blocks.1.0.conv2d1.weight_u"), r"not a BigGAN: no tensor 'blocks\.1\.0\.conv2d1\.weight_u'"),
    "bias": (changed("blocks.3.0.conv2d1.bias"), r"blocks\.2\.conv1\.bias"),
    "shape": (changed(linear0__bias=torch.zeros(4)), "not the shapes of a BigGAN: .*linear.bias"),
    "unknown": (changed(extra__weight=torch.zeros(4)), r"not the shapes of a BigGAN: .*extra\.weight"),
}


@pytest.mark.parametrize(("make", "message"), OTHERS.values(), ids=OTHERS)
def test_what_cannot_be_imported_is_said_in_one_line(make: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message) as error:
        studiogan.to_game_state(make(tmp_path), Overrides())
    assert "\n" not in str(error.value)


def test_self_attention_within_a_doubling_is_refused() -> None:
    """After the first of a BigGAN-deep's two blocks, where ours has none: the blocks change places with it."""
    state = read("biggan_deep_r32")
    places = {"3": "4", "4": "3"}

    def moved(name: str) -> str:
        head, _, rest = name.partition(".0.")
        number = head.removeprefix("blocks.")
        return f"blocks.{places[number]}.0.{rest}" if head.startswith("blocks.") and number in places else name

    with pytest.raises(CheckpointError, match=r"self-attention after block 3; only after block 2, 4, \.\.\."):
        studiogan.convert({moved(name): value for name, value in state.items()}, "x.pth")
