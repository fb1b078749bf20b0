"""Weights of pytorch-pretrained-BigGAN give here the images they give there, at every truncation; and nothing in a file is executed."""

from __future__ import annotations

import itertools
import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from biggan_scale.config import CheckpointError, ConfigError, ImageSpec
from biggan_scale.export.importers import biggan_deep_hf, import_checkpoint, parse
from biggan_scale.export.importers._biggan import Imported
from biggan_scale.export.importers._torch_file import State
from biggan_scale.export.importers.biggan_deep_hf import Overrides
from biggan_scale.export.load import load
from biggan_scale.networks.biggan_deep import Generator, GeneratorConfig
from support.torch_spectral_norm import power_iterated

COMPAT = Path(__file__).parents[1] / "compat"
CASES = {folder.name: folder for folder in sorted((COMPAT / "biggan_deep_hf").iterdir())}
CALLS = [
    pytest.param(case, call, id=f"{case}-{call['name']}")
    for case, folder in CASES.items()
    for call in json.loads((folder / "manifest.json").read_text())["calls"]
]


@cache
def vectors(case: str) -> dict[str, Tensor]:
    return load_file(CASES[case] / "vectors.safetensors")


def labels(case: str) -> Tensor:
    """What that project gives as one-hot rows."""
    one_hot = vectors(case)["in/class_label"]
    assert torch.equal(one_hot.sum(1), torch.ones(len(one_hot))) and set(one_hot.unique().tolist()) == {0.0, 1.0}
    return one_hot.argmax(1)


def read(case: str) -> State:
    return biggan_deep_hf.read(CASES[case] / "pytorch_model.bin")


def imported(case: str, overrides: Overrides, state: State | None = None) -> Imported:
    folder = CASES[case]
    return biggan_deep_hf.convert(state or read(case), biggan_deep_hf.describe(folder / "config.json"), overrides, folder.name)


def images(found: Imported, case: str) -> Tensor:
    with torch.no_grad():
        return found.network.eval()(vectors(case)["in/z"], labels(case))


@pytest.mark.parametrize(("case", "call"), CALLS)
def test_it_gives_their_images_with_their_interpolation(case: str, call: dict[str, Any]) -> None:
    state = power_iterated(read(case), eps=1e-4) if call["mode"] == "train" else read(case)
    found = imported(case, Overrides(call["inputs"]["truncation"], swaps_neighbours=True), state)
    expected = call["outputs"]["out"]
    torch.testing.assert_close(images(found, case), vectors(case)[expected["key"]], rtol=0, atol=expected["accept_atol"])


@pytest.mark.parametrize(("case", "truncation"), [("r32", 0.4), ("r32", 1.0), ("r32", 0.02), ("r64", 0.5)])
def test_it_gives_their_images_where_no_interpolation_is_made(case: str, truncation: float) -> None:
    (call,) = (one.values[1] for one in CALLS if one.values[0] == case and one.values[1]["name"] == f"eval.t{truncation}")
    found = imported(case, Overrides(truncation))
    expected = call["outputs"]["out"]
    torch.testing.assert_close(images(found, case), vectors(case)[expected["key"]], rtol=0, atol=expected["accept_atol"])


def test_statistics_are_those_of_the_truncation() -> None:
    rows = torch.arange(51.0)[:, None] ** 2  # not linear: a wrong neighbour shows
    for truncation, expected in ((1.0, 50**2), (0.14, 7**2), (0.58, 29**2), (0.405, 0.75 * 20**2 + 0.25 * 21**2)):
        torch.testing.assert_close(biggan_deep_hf.at_truncation(rows, Overrides(truncation)), torch.tensor([float(expected)]))
    for truncation, expected in ((0.4, 20**2), (0.14, 8**2), (0.58, 28**2), (0.405, 0.25 * 20**2 + 0.75 * 21**2)):
        theirs = biggan_deep_hf.at_truncation(rows, Overrides(truncation, swaps_neighbours=True))
        torch.testing.assert_close(theirs, torch.tensor([float(expected)]))


def test_truncations_without_statistics_are_refused() -> None:
    for truncation in ("0", "1.5"):
        with pytest.raises(ConfigError, match=r"truncation \S+ must be above 0 and at most 1") as error:
            parse(Overrides, [f"truncation={truncation}"])
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("case", CASES)
def test_an_import_is_an_export_that_loads_and_draws_at_its_truncation(case: str, tmp_path: Path) -> None:
    (call,) = (one.values[1] for one in CALLS if one.values[0] == case and one.values[1]["name"] in ("eval.t0.4", "eval.t0.5"))
    truncation, expected = call["inputs"]["truncation"], call["outputs"]["out"]
    notes = import_checkpoint(CASES[case], "biggan-deep-hf", tmp_path / "out", [f"truncation={truncation}"])
    model = load(tmp_path / "out")
    with torch.no_grad():
        made = model.generator(vectors(case)["in/z"], labels(case))
    torch.testing.assert_close(made, vectors(case)[expected["key"]], rtol=0, atol=expected["accept_atol"])

    assert model.provenance["imported_from"] == "biggan-deep-hf" and model.provenance["notes"] == notes
    row, last = (20, 50) if case == "r32" else (5, 10)
    assert f"statistics at truncation {truncation:g}, row {row} of 0 to {last}" in notes[1]
    z = model.latents(range(64), 0, None, None)["z"]
    assert 1.5 * truncation < z.abs().max() <= 2 * truncation
    torch.testing.assert_close(z.std(), 0.88 * torch.tensor(truncation), rtol=0.1, atol=0)  # of a normal truncated at 2


def test_the_widths_of_the_public_generators_are_the_papers(tmp_path: Path) -> None:
    """Of 128 px: the layers that config.json has by default."""
    steps = (16, 16, 16, 16, 8, 8, 4, 4, 2, 2, 1)
    layers = [[i % 2 == 1, a, b] for i, (a, b) in enumerate(itertools.pairwise(steps))]
    said = {"output_dim": 128, "z_dim": 128, "channel_width": 128, "num_classes": 1000, "layers": layers, "eps": 1e-4}
    (tmp_path / "config.json").write_text(json.dumps(said))
    described = biggan_deep_hf.describe(tmp_path / "config.json")
    with torch.device("meta"):
        pair = [Generator(GeneratorConfig(128, widths=w), ImageSpec(128, 128, 3, 1000), 128) for w in ((), described.widths)]
    assert [value.shape for value in pair[0].state_dict().values()] == [value.shape for value in pair[1].state_dict().values()]


def test_without_a_wish_the_statistics_are_those_of_the_whole_prior() -> None:
    tree, _, notes = biggan_deep_hf.to_game_state(CASES["r32"], Overrides())
    assert tree["game"]["prior"] == {"type": "truncated", "dim": 8, "threshold": 2.0, "scale": 1.0}
    assert notes[0] == "G from r32/pytorch_model.bin" and "truncation 1, row 50 of 0 to 50" in notes[1]


def test_downloads_with_a_name_before_theirs_are_found(tmp_path: Path) -> None:
    for file in ("pytorch_model.bin", "config.json"):
        shutil.copy(CASES["r32"] / file, tmp_path / f"biggan-deep-32-{file}")
    _, states, _ = biggan_deep_hf.to_game_state(tmp_path / "biggan-deep-32-pytorch_model.bin", Overrides())
    assert states["G"]["embed.weight"].shape == (10, 8)


@pytest.mark.parametrize("file", ["G_ema.pth", "persistence_src.pkl", "reduce_eval.pkl", "manifest.json"])
def test_hostile_files_are_refused_and_do_not_run(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(CASES["r32"] / "config.json", tmp_path / "in")
    shutil.copy(COMPAT / "hostile" / file, tmp_path / "in" / "pytorch_model.bin")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: (refused|cannot be read)") as error:
        import_checkpoint(tmp_path / "in", "biggan-deep-hf", tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "here").iterdir()) and not (tmp_path / "out").exists()


def folder_with(folder: Path, weights: object = None, **changes: object) -> Path:
    """The r32 case with other weights, bytes as they are, and other entries in its configuration; None: without it."""
    config = json.loads((CASES["r32"] / "config.json").read_text())
    config = {key: value for key, value in (config | changes).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    file = folder / "pytorch_model.bin"
    if isinstance(weights, bytes):
        file.write_bytes(weights)
    elif weights is None:
        shutil.copy(CASES["r32"] / "pytorch_model.bin", file)
    else:
        torch.save(weights, file)
    return folder


def without(name: str) -> State:
    return {key: value for key, value in read("r32").items() if key != name}


def empty(folder: Path) -> Path:
    return folder


def lonely(folder: Path) -> Path:
    (folder_with(folder) / "config.json").unlink()
    return folder


def other_name(folder: Path) -> Path:
    return (folder_with(folder) / "pytorch_model.bin").rename(folder / "G.pth")


def not_json(folder: Path) -> Path:
    (folder_with(folder) / "config.json").write_text("hello")
    return folder


LAYERS = [[False, 16, 16], [True, 16, 8], [False, 8, 8], [True, 8, 4], [False, 4, 2], [True, 2, 1]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (empty, r"no pytorch_model\.bin in this folder"),
        (lonely, r"no config\.json beside the weights"),
        (other_name, r"expected a \[NAME-\]pytorch_model\.bin"),
        (not_json, r"config\.json: not the config\.json of a BigGAN-deep: Expecting value"),
        (lambda f: folder_with(f, z_dim=None), "no 'z_dim'"),
        (lambda f: folder_with(f, layers=LAYERS[:1] + LAYERS[2:]), "a layer does not take what the one before it gives"),
        (lambda f: folder_with(f, layers=[[not up, a, b] for up, a, b in LAYERS]), "not stages of equally many"),
        (lambda f: folder_with(f, output_dim=64), "7 widths, but 64 px need 9"),
        (lambda f: folder_with(f, channel_width=8), "not the shapes of a BigGAN: .*size mismatch"),
        (lambda f: folder_with(f, (CASES["r32"] / "pytorch_model.bin").read_bytes()[:5000]), "cannot be read as a torch file|refused"),
        (lambda f: folder_with(f, {"step": 1}), "not a state dict of tensors"),
        (lambda f: folder_with(f, {"some.weight": torch.zeros(1)}), "not a BigGAN: no tensor|not the shapes of a BigGAN"),
        (lambda f: folder_with(f, without("generator.layers.2.conv_1.weight_u")), r"no tensor 'generator\.layers\.2\.conv_1\.weight_u'"),
        (lambda f: folder_with(f, without("generator.layers.5.conv_1.bias")), r"blocks\.4\.conv2\.bias"),
    ],
    ids=lambda value: value.__name__ if hasattr(value, "__name__") else None,
)
def test_what_cannot_be_imported_is_said_in_one_line(make: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message) as error:
        biggan_deep_hf.to_game_state(make(tmp_path), Overrides())
    assert "\n" not in str(error.value)
