from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from biggan_scale.config.errors import CheckpointError, EnvironmentFault
from biggan_scale.engine import checkpoint
from biggan_scale.engine.checkpoint import TrainingState


def state(nimg: int) -> TrainingState:
    weights = {"w": torch.arange(12.0).view(3, 4) + nimg, "n": torch.tensor(nimg)}
    return TrainingState(weights, {"w": weights["w"] / 2}, {"G/w/exp_avg": weights["w"] * 0}, {"nimg": nimg, "round": nimg // 10, "x": 1})


def saved(folder: Path, *moments: int) -> list[Path]:
    return [checkpoint.save(folder, state(nimg), {"version": "test"}) for nimg in moments]


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    (path,) = saved(tmp_path, 1280)
    assert path.name == "000000001.280-kimg"
    loaded = checkpoint.load(path)
    assert torch.equal(loaded.model["w"], state(1280).model["w"])
    assert loaded.model["n"].dtype == torch.int64
    assert loaded.state == state(1280).state


def test_state_digest_is_of_the_state_alone(tmp_path: Path) -> None:
    a = checkpoint.save(tmp_path / "a", state(10), {"time": "now", "world": 1})
    b = checkpoint.save(tmp_path / "b", state(10), {"time": "later", "world": 8})
    c = checkpoint.save(tmp_path / "c", state(20), {})
    digests = [checkpoint.manifest_of(path)["state_sha256"] for path in (a, b, c)]
    assert digests[0] == digests[1] != digests[2]


def test_channels_last_tensors_have_the_same_digest(tmp_path: Path) -> None:
    image = torch.randn(2, 3, 4, 4)
    digests = []
    for name, tensor in {"plain": image, "last": image.to(memory_format=torch.channels_last)}.items():
        path = checkpoint.save(tmp_path / name, TrainingState({"w": tensor}, {}, {}, {"nimg": 1, "round": 1}), {})
        digests.append(checkpoint.manifest_of(path)["state_sha256"])
    assert digests[0] == digests[1]


@pytest.mark.parametrize("name", [*checkpoint.STATE_FILES, checkpoint.MANIFEST])
@pytest.mark.parametrize("harm", ["flip", "truncate", "delete"])
def test_any_damage_falls_back_to_the_one_before(tmp_path: Path, name: str, harm: str) -> None:
    older, newer = saved(tmp_path, 10, 20)
    damage(newer / name, harm)
    warnings: list[str] = []
    assert checkpoint.newest_valid(tmp_path, warnings.append) == older
    assert len(warnings) == 1 and str(newer) in warnings[0]
    assert (tmp_path / f"BAD_{newer.name}").is_dir()


def test_no_valid_checkpoint_is_an_error_and_never_a_fresh_start(tmp_path: Path) -> None:
    for path in saved(tmp_path, 10, 20):
        damage(path / "model.safetensors", "flip")
    for _ in range(2):  # the second start must not forget
        with pytest.raises(CheckpointError, match="no valid checkpoint is left"):
            checkpoint.newest_valid(tmp_path, lambda _: None)


def test_nothing_there_is_a_fresh_start(tmp_path: Path) -> None:
    assert checkpoint.newest_valid(tmp_path / "never", lambda _: None) is None


def test_checkpoint_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    (path,) = saved(tmp_path, 10)
    manifest = checkpoint.manifest_of(path) | {"format": checkpoint.FORMAT + 1}
    (path / checkpoint.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="newer biggan_scale"):
        checkpoint.newest_valid(tmp_path, lambda _: None)
    assert path.is_dir()


def test_files_of_two_moments_do_not_pass_for_one(tmp_path: Path) -> None:
    older, newer = saved(tmp_path, 10, 20)
    (newer / "model.safetensors").write_bytes((older / "model.safetensors").read_bytes())
    assert checkpoint.problem_of(newer) == "model.safetensors does not match its sha256"


def test_retention_counts_only_valid_ones_and_keeps_two(tmp_path: Path) -> None:
    paths = saved(tmp_path, 10, 20, 30, 40)
    (paths[3] / "ema.safetensors").unlink()
    checkpoint.retain(tmp_path, keep=1)
    assert [p.name for p in checkpoint.checkpoints(tmp_path)] == [paths[3].name, paths[2].name, paths[1].name]


def test_retention_does_not_count_what_has_rotted_since(tmp_path: Path) -> None:
    paths = saved(tmp_path, 10, 20, 30, 40)
    damage(paths[3] / "model.safetensors", "flip")  # its sizes are right
    checkpoint.retain(tmp_path, keep=2)
    assert checkpoint.checkpoints(tmp_path) == [paths[3], paths[2], paths[1]]
    damage(paths[2] / "optim.safetensors", "flip")  # after it has been read once
    (newest,) = saved(tmp_path, 50)
    checkpoint.retain(tmp_path, keep=2)
    assert checkpoint.checkpoints(tmp_path) == [newest, paths[3], paths[2], paths[1]]


def test_retention_keeps_the_last_healthy_one_and_what_is_pinned(tmp_path: Path) -> None:
    healthy = {10: True, 20: True, 30: True, 40: False, 50: False, 60: False}
    paths = {nimg: checkpoint.save(tmp_path, state(nimg), {"healthy": well}) for nimg, well in healthy.items()}
    checkpoint.retain(tmp_path, keep=2, pins=[paths[10]])
    assert checkpoint.checkpoints(tmp_path) == [paths[nimg] for nimg in (60, 50, 30, 10)]
    assert checkpoint.last_healthy(tmp_path) == paths[30]
    checkpoint.retain(tmp_path, keep=2)
    assert checkpoint.checkpoints(tmp_path) == [paths[nimg] for nimg in (60, 50, 30)]


def test_healthy_checkpoint_that_is_damaged_is_not_the_last_healthy_one(tmp_path: Path) -> None:
    older, newer = saved(tmp_path, 10, 20)
    damage(newer / "model.safetensors", "truncate")
    for again in (True, False):
        assert checkpoint.last_healthy(tmp_path, again=again) == older


def test_leftovers_of_a_death_are_swept_and_never_taken_for_checkpoints(tmp_path: Path) -> None:
    (path,) = saved(tmp_path, 10)
    (tmp_path / f".tmp_{path.name}_1").mkdir()
    (tmp_path / f".del_{path.name}").mkdir()
    assert checkpoint.checkpoints(tmp_path) == [path]
    checkpoint.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_whoever_may_read_a_new_file_may_read_a_checkpoint(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        (path,) = saved(tmp_path, 10)
    finally:
        os.umask(before)
    assert {file.name: oct(file.stat().st_mode & 0o777) for file in path.iterdir()} == dict.fromkeys(
        (*checkpoint.STATE_FILES, checkpoint.MANIFEST), "0o640"
    )


def test_unwritable_place_is_one_line_and_publishes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EnvironmentFault, match="cannot write a checkpoint in"):
        checkpoint.save(tmp_path / "file" / "checkpoints", state(10), {})


def test_file_that_could_not_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seal = checkpoint._seal
    monkeypatch.setattr(checkpoint, "_seal", lambda path: path.unlink() or seal(path))
    with pytest.raises(EnvironmentFault, match=r"No such file or directory \(model\.safetensors\); the checkpoints are intact"):
        checkpoint.save(tmp_path, state(10), {})


def damage(path: Path, harm: str) -> None:
    if harm == "delete":
        path.unlink()
        return
    data = bytearray(path.read_bytes())
    if harm == "truncate":
        data = data[: len(data) // 2]
    else:
        data[len(data) // 2] ^= 1
    path.write_bytes(data)
