from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from biggan_scale.config import CheckpointError, ConfigError
from biggan_scale.engine import checkpoint
from biggan_scale.export.load import load
from biggan_scale.export.source import find
from export.conftest import Trained
from support.runs import flip_a_bit, save


@pytest.fixture
def run(trained: Trained, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(trained.run, tmp_path / "run"))


@pytest.fixture
def export(trained: Trained, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained.export, tmp_path / "export"))


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(checkpoint.sealed(value) if path.name == checkpoint.MANIFEST else json.dumps(value))


def test_a_run_is_its_newest_checkpoint(trained: Trained) -> None:
    newest, older = checkpoint.checkpoints(trained.run / "checkpoints")
    found = find(trained.run)
    assert found.path == newest
    assert found.provenance["nimg"] == trained.engine.clock.nimg
    assert found.provenance["state_sha256"] == checkpoint.manifest_of(newest)["state_sha256"]
    assert find(older).path == older
    assert find(older).provenance["nimg"] < found.provenance["nimg"]


def test_provenance_names_the_weights_and_the_data(trained: Trained) -> None:
    raw, ema, exported = find(trained.run, "raw"), find(trained.run), find(trained.export)
    assert (raw.provenance["weights"], ema.provenance["weights"]) == ("raw", "ema")
    assert ema.provenance["data_fingerprint"] == "f" * 64
    assert exported.provenance == {**ema.provenance, "statistics": "running"}


def test_a_damaged_checkpoint_is_passed_over_and_left_alone(run: Path) -> None:
    newest, older = checkpoint.checkpoints(run / "checkpoints")
    flip_a_bit(newest / "ema.safetensors")
    before = everything(run)
    with pytest.warns(UserWarning, match="does not match its sha256; trying the one before"):
        assert find(run).path == older
    assert everything(run) == before


@pytest.mark.filterwarnings("ignore:.*trying the one before")
def test_a_run_without_a_valid_checkpoint_is_an_error_and_left_alone(run: Path) -> None:
    for path in checkpoint.checkpoints(run / "checkpoints"):
        (path / "state.json").unlink()
    before = everything(run)
    with pytest.raises(CheckpointError, match=r"no valid checkpoint \(.*state.json is missing; .*state.json is missing\)"):
        find(run)
    assert everything(run) == before


def newer(path: Path, key: str) -> None:
    edit(path, lambda value: value.update({key: value[key] + 1}))


def first(run: Path) -> Path:
    return checkpoint.checkpoints(run / "checkpoints")[0]


@pytest.mark.parametrize(
    ("place", "message"),
    [("", "no such run, checkpoint or export"), ("checkpoints", "not a model; a run has checkpoints/")],
)
def test_where_nothing_of_ours_is_the_path_is_wrong(run: Path, place: str, message: str) -> None:
    shutil.rmtree(run / place)
    with pytest.raises(ConfigError, match=message):
        load(run)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda run: [shutil.rmtree(path) for path in (run / "checkpoints").iterdir()], "none has been written"),
        (
            lambda run: [checkpoint.set_aside(path) for path in checkpoint.checkpoints(run / "checkpoints")],
            r"no valid checkpoint \(all were set aside as BAD_\*\)",
        ),
        (lambda run: newer(first(run) / checkpoint.MANIFEST, "format"), "newer biggan_scale"),
        (lambda run: edit(first(run) / checkpoint.MANIFEST, lambda manifest: manifest.pop("config")), "has no config"),
        (
            lambda run: edit(first(run) / checkpoint.MANIFEST, lambda manifest: manifest["config"].update(colour=1, size=2)),
            r"unknown key 'colour'.*\(and 1 more\); written by another version",
        ),
    ],
)
def test_what_is_not_a_run_is_told_in_one_line(run: Path, harm: Callable[[Path], object], message: str) -> None:
    harm(run)
    with pytest.raises(CheckpointError, match=message) as error:
        load(run)
    assert "\n" not in str(error.value)


def test_a_damaged_checkpoint_given_by_name_is_an_error(run: Path) -> None:
    flip_a_bit(first(run) / "optim.safetensors")
    with pytest.raises(CheckpointError, match=r"optim.safetensors does not match its sha256"):
        find(first(run))


def test_a_checkpoint_of_another_game_does_not_fit(run: Path, trained: Trained) -> None:
    tree = checkpoint.manifest_of(first(run))["config"]
    tree["game"]["generator"]["channels"] = 8
    shutil.rmtree(run)
    with pytest.raises(
        CheckpointError, match=r"ema.safetensors: does not fit its config: G\..* is \(.*\), the model's is \(.*\) \(\d+ such"
    ):
        load(save(run, trained.engine, config=tree))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda export: edit(export / "config.json", lambda value: value.update(format="diffusers")), "not of a biggan_scale export"),
        (lambda export: (export / "config.json").write_text("[1, 2]"), "not of a biggan_scale export"),
        (lambda export: (export / "config.json").write_text("{"), "not of a biggan_scale export"),
        (lambda export: newer(export / "config.json", "version"), "newer biggan_scale"),
        (lambda export: edit(export / "config.json", lambda value: value.pop("config")), "config.json has no 'config'"),
        (lambda export: flip_a_bit(export / "model.safetensors"), "does not match its sha256 in config.json"),
        (lambda export: (export / "model.safetensors").unlink(), "model.safetensors is missing"),
    ],
)
def test_a_damaged_export_is_told_in_one_line(export: Path, harm: Callable[[Path], object], message: str) -> None:
    harm(export)
    with pytest.raises(CheckpointError, match=message) as error:
        load(export)
    assert "\n" not in str(error.value)


def test_an_export_has_no_raw_weights(trained: Trained) -> None:
    with pytest.raises(ConfigError, match="averaged weights only"):
        find(trained.export, "raw")
