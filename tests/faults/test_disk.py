"""A disk that is full or fails under a run: one line with an exit code, nothing lost, and the same command goes on when there is room."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from biggan_scale.engine import checkpoint
from faults.forked import Attempt
from faults.toys import page
from support.command import manifests, rounds_logged, state_of
from support.disk import mounted

FEW = ("until=8 rounds",)
DISK_FULL = re.compile(r"disk full: (\S.*) needs [\d,]+ bytes, [\d,]+ bytes are free in /.*; the checkpoints are intact$")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "4m") as place:
        yield place


def fill(place: Path, leave: int) -> Path:
    """A file that leaves so many bytes free."""
    filler = place / "filler"
    with filler.open("wb") as file:
        file.write(bytes(shutil.disk_usage(place).free - leave))
    return filler


@pytest.mark.parametrize("share", [0.5, 0.0], ids=["half a checkpoint free", "nothing free"])
def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(small_disk: Path, images: Path, tmp_path: Path, share: float) -> None:
    alone = page(tmp_path / "alone", images)
    assert Attempt(*alone, *FEW).wait() == [0]
    arguments = (*page(tmp_path / "run", images), f"run_dir={small_disk / 'run'}")
    assert Attempt(*arguments, "until=4 rounds").wait() == [0]
    before = manifests(small_disk / "run")
    size = sum(entry["bytes"] for entry in before[64]["files"].values())
    filler = fill(small_disk, int(share * size))
    attempt = Attempt(*arguments, *FEW)
    assert attempt.wait() == [5], attempt.said()
    assert "Traceback" not in attempt.said()
    last = attempt.said().splitlines()[-1]
    found = DISK_FULL.search(last)
    assert found and (not share or found[1] == "a checkpoint"), last
    assert manifests(small_disk / "run") == before
    filler.unlink()
    attempt = Attempt(*arguments, *FEW)
    assert attempt.wait() == [0], attempt.said()
    assert "resumed at 0.064 kimg" in attempt.said()
    assert manifests(small_disk / "run")[128]["state_sha256"] == manifests(tmp_path / "alone")[128]["state_sha256"]
    assert rounds_logged(small_disk / "run") == list(range(1, 9))


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_small_file_that_meets_a_full_disk_says_so_and_every_rank_ends(images: Path, tmp_path: Path, ranks: int) -> None:
    arguments = page(tmp_path / "run", images)
    attempt = Attempt(*arguments, *FEW, ranks=ranks, faults="ENOSPC at replace 8 on rank 0")  # config.yaml, run.json, state.json six times
    assert set(attempt.wait()) == {5}, attempt.said()
    assert "Traceback" not in attempt.said()
    found = DISK_FULL.search(attempt.said().splitlines()[-1])
    assert found and found[1] == "state.json", attempt.said()
    assert (state_of(tmp_path / "run")["state"], state_of(tmp_path / "run")["exit_code"]) == ("failed", 5)
    assert not list((tmp_path / "run").glob(".*"))
    assert Attempt(*arguments, *FEW).wait() == [0]


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_failing_disk_ends_the_run_with_what_was_saved_before(images: Path, tmp_path: Path, ranks: int) -> None:
    arguments = page(tmp_path / "run", images)
    attempt = Attempt(*arguments, *FEW, ranks=ranks, faults="EIO at fsync 16 on rank 0")  # in the third save
    assert set(attempt.wait()) == {5}, attempt.said()
    assert "Traceback" not in attempt.said()
    assert "Input/output error; the checkpoints are intact" in attempt.said().splitlines()[-1]
    assert (state_of(tmp_path / "run")["state"], state_of(tmp_path / "run")["exit_code"]) == ("failed", 5)
    assert sorted(manifests(tmp_path / "run")) == [32, 64]
    assert Attempt(*arguments, *FEW).wait() == [0]


@pytest.mark.parametrize("name", ["metrics.jsonl", "attempts.jsonl", "state.json", "run.json", "log.txt", "config.yaml", "health.json"])
@pytest.mark.parametrize("content", [b'{"event": "sta', b"\xff\x00[3]\n", b"{}\n[]\n3\n"], ids=["torn", "garbage", "other"])
def test_no_other_file_of_a_run_can_stop_it(images: Path, tmp_path: Path, name: str, content: bytes) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(_begun(images, tmp_path), run_dir)
    (run_dir / name).write_bytes(content)
    attempt = Attempt(*page(run_dir, images), *FEW)
    assert attempt.wait() == [0], attempt.said()
    assert "resumed at 0.064 kimg" in attempt.said()
    assert checkpoint.newest_valid(run_dir / "checkpoints", print) is not None


def _begun(images: Path, tmp_path: Path) -> Path:
    run_dir = tmp_path.parent / "begun"
    if not run_dir.exists():
        assert Attempt(*page(run_dir, images), "until=4 rounds").wait() == [0]
    return run_dir
