"""`biggan-scale train` as a process: killed, signalled, resumed, on one rank and on two, with real shards."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from biggan_scale.data.packaged import open_dataset
from support.command import finish, kill, manifests, records, rounds_logged, state_of, train, wait_until

SETTINGS = ("tiny", "until=40 rounds", "checkpoint.every=5 rounds", "log.every=1 rounds", "log.tensorboard=false", "snapshot.every=1 Mimg")
END = 40 * 2 * 16  # images: 40 rounds of 2 batches


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packaged images as shards, to be used and damaged."""
    packaged = open_dataset("packaged:emoji64", resolution=32, channels=3)
    return Path(shutil.copytree(packaged.path, tmp_path_factory.mktemp("data") / "emoji"))


@pytest.fixture(scope="module")
def undisturbed(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """ranks -> state_sha256 of a run that nothing happened to."""
    digests = {}
    for ranks in (1, 2):
        run_dir = tmp_path_factory.mktemp(f"undisturbed{ranks}")
        code, stderr = finish(train(*SETTINGS, f"data.path={shards}", f"run_dir={run_dir}", ranks=ranks))
        assert code == 0, stderr
        digests[ranks] = manifests(run_dir)[END]["state_sha256"]
    return digests


@pytest.mark.parametrize("workers_after", [0, 1, 3])
def test_two_ranks_killed_and_resumed_end_in_the_undisturbed_state(
    shards: Path, undisturbed: dict[int, str], tmp_path: Path, workers_after: int
) -> None:
    arguments = (*SETTINGS, f"data.path={shards}", f"run_dir={tmp_path}")
    process = train(*arguments, ranks=2)
    wait_until(lambda: max(rounds_logged(tmp_path), default=0) >= 20, process)
    kill(process)
    assert END not in manifests(tmp_path)
    before = records(tmp_path)
    code, stderr = finish(train(*arguments, f"data.workers={workers_after}", ranks=2))
    assert code == 0, stderr
    assert "resumed at" in stderr
    assert manifests(tmp_path)[END]["state_sha256"] == undisturbed[2]
    assert rounds_logged(tmp_path) == list(range(1, 41))  # no step twice
    assert records(tmp_path)[: len(before)] == before  # what was lost has been repeated, and logged as before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT], ids=lambda number: number.name)
def test_signal_saves_and_exits_75_and_the_same_command_goes_on(
    shards: Path, undisturbed: dict[int, str], tmp_path: Path, number: signal.Signals
) -> None:
    arguments = (*SETTINGS, f"data.path={shards}", f"run_dir={tmp_path}")
    process = train(*arguments)
    wait_until(lambda: rounds_logged(tmp_path), process)
    process.send_signal(number)
    code, stderr = finish(process)
    assert code == 75, stderr
    verdict = state_of(tmp_path)
    assert (verdict["state"], verdict["requeue"]) == ("preempted", True)
    assert verdict["nimg"] in manifests(tmp_path)
    code, stderr = finish(train(*arguments))
    assert code == 0, stderr
    assert state_of(tmp_path)["state"] == "complete"
    assert manifests(tmp_path)[END]["state_sha256"] == undisturbed[1]


def test_signal_to_one_rank_of_two_stops_both_at_the_same_round(shards: Path, undisturbed: dict[int, str], tmp_path: Path) -> None:
    arguments = (*SETTINGS, f"data.path={shards}", f"run_dir={tmp_path}")
    process = train(*arguments, ranks=2)
    wait_until(lambda: rounds_logged(tmp_path), process)
    os.kill(state_of(tmp_path)["pid"], signal.SIGTERM)
    code, stderr = finish(process)
    assert code == 0, stderr  # under torchrun the verdict is in state.json
    assert state_of(tmp_path)["state"] == "preempted"
    assert finish(train(*arguments, ranks=2))[0] == 0
    assert manifests(tmp_path)[END]["state_sha256"] == undisturbed[2]


def test_run_goes_on_from_the_checkpoint_before_a_corrupt_one(shards: Path, undisturbed: dict[int, str], tmp_path: Path) -> None:
    arguments = (*SETTINGS, f"data.path={shards}", f"run_dir={tmp_path}")
    assert finish(train(*arguments, "until=20 rounds"))[0] == 0
    newest = tmp_path / "checkpoints" / "000000000.640-kimg"
    flip(newest / "optim.safetensors")
    code, stderr = finish(train(*arguments))
    assert code == 0, stderr
    assert f"{newest}: optim.safetensors does not match its sha256; set aside" in stderr
    assert "resumed at 0.480 kimg" in stderr
    assert manifests(tmp_path)[END]["state_sha256"] == undisturbed[1]


def test_finished_run_does_nothing_again(shards: Path, tmp_path: Path) -> None:
    arguments = (*SETTINGS, "until=5 rounds", f"data.path={shards}", f"run_dir={tmp_path}")
    assert finish(train(*arguments))[0] == 0
    before = manifests(tmp_path)
    code, stderr = finish(train(*arguments))
    assert code == 0 and "complete at 0.160 kimg" in stderr
    assert manifests(tmp_path) == before


# bad input: one line, the right exit code, nothing lost


def test_bad_input_is_one_line_and_an_exit_code(shards: Path, tmp_path: Path) -> None:
    truncated, missing = (Path(shutil.copytree(shards, tmp_path / name)) for name in ("truncated", "missing"))
    shard = sorted(shards.glob("*.tar"))[-1].name
    with (truncated / shard).open("r+b") as file:
        file.truncate((truncated / shard).stat().st_size - 10240)
    (missing / shard).unlink()
    (tmp_path / "file").write_text("in the way")
    good = f"data.path={shards}"
    for arguments, code, words in [
        (["game.generatr.channels=8", good], 2, "unknown key 'game.generatr'"),
        (["batch_size=10", "micro_batch=4", good], 2, "batch_size 10 is not divisible by 1 rank x micro_batch 4; nearest: 8 or 12"),
        (["data.num_classes=7", good], 2, "has 9 classes"),
        (["data.resolution=64", good], 2, "images are 32x32"),
        ([f"data.path={tmp_path / 'nowhere'}"], 3, "nowhere"),
        ([f"data.path={missing}"], 3, shard),
        ([f"data.path={truncated}"], 3, shard),
        ([good, f"run_dir={tmp_path / 'file' / 'run'}"], 5, "cannot be written"),
    ]:
        process = train("tiny", f"run_dir={tmp_path / 'run'}", "log.tensorboard=false", *arguments)
        got, stderr = finish(process)
        lines = [line for line in stderr.splitlines() if line]
        assert got == code, (arguments, stderr)
        assert len(lines) == 1 and words in lines[0], (arguments, stderr)


def test_batch_that_two_ranks_do_not_divide_is_said_once(shards: Path, tmp_path: Path) -> None:
    code, stderr = finish(train("tiny", "batch_size=15", f"data.path={shards}", f"run_dir={tmp_path}", ranks=2))
    assert code != 0
    assert stderr.count("batch_size 15 is not divisible by 2 ranks; nearest: 14 or 16") == 1
    assert "Traceback" not in stderr.split("torch/distributed")[0]


def test_all_checkpoints_corrupt_stops_with_4_and_deletes_nothing(shards: Path, tmp_path: Path) -> None:
    arguments = (*SETTINGS, "until=5 rounds", f"data.path={shards}", f"run_dir={tmp_path}")
    assert finish(train(*arguments))[0] == 0
    for path in (tmp_path / "checkpoints").glob("*/model.safetensors"):
        flip(path)
    code, stderr = finish(train(*arguments))
    assert code == 4 and "no valid checkpoint is left" in stderr.splitlines()[-1]
    assert len(list((tmp_path / "checkpoints").glob("BAD_*/model.safetensors"))) == 1


def test_changed_config_or_data_is_refused_by_name(shards: Path, tmp_path: Path) -> None:
    arguments = (*SETTINGS, "until=5 rounds", f"data.path={shards}", f"run_dir={tmp_path}")
    assert finish(train(*arguments))[0] == 0
    code, stderr = finish(train(*arguments, "optim.G.lr=1e-3"))
    assert code == 2 and "optim.G.lr: 0.0002 -> 0.001" in stderr and "allow_changes='[optim.G.lr]'" in stderr
    other = Path(shutil.copytree(shards, tmp_path / "other"))
    description = json.loads((other / "dataset.json").read_text())
    description["classes"] = [*description["classes"][:-1], "renamed"]
    (other / "dataset.json").write_text(json.dumps(description, indent=1))
    code, stderr = finish(train(*arguments, f"data.path={other}"))
    assert code in (3, 4) and "other" in stderr.splitlines()[-1]


def test_second_owner_of_a_run_directory_is_refused(shards: Path, tmp_path: Path) -> None:
    arguments = (*SETTINGS, "until=2000 rounds", f"data.path={shards}", f"run_dir={tmp_path}")
    first = train(*arguments)
    wait_until(lambda: rounds_logged(tmp_path), first)
    code, stderr = finish(train(*arguments))
    assert code == 5 and f"in use by pid {first.pid}" in stderr
    kill(first)
    assert finish(train(*arguments, "until=1 rounds"))[0] == 0  # free at once


def test_divergence_is_said_and_ends_with_93(shards: Path, tmp_path: Path) -> None:
    code, stderr = finish(train(*SETTINGS, f"data.path={shards}", f"run_dir={tmp_path}", "optim.D.lr=1e38", "max_bad_rounds=3"))
    assert code == 93, stderr
    assert "a gradient was not finite; the step was not taken (1 of 3 in a row)" in stderr
    assert "3 rounds in a row were not finite; there is no healthy checkpoint to roll back to" in stderr.splitlines()[-1]
    verdict = state_of(tmp_path)
    assert (verdict["state"], verdict["requeue"]) == ("failed", False)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
