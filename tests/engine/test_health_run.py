"""The watch inside a run: it changes nothing, remembers over a restart, tells whoever asks, and has the run rolled back if it may."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from biggan_scale.config import load_config
from biggan_scale.config.errors import ConfigError, DoNotRequeue
from biggan_scale.data.packaged import open_dataset
from biggan_scale.engine import checkpoint
from biggan_scale.engine.loop import Engine
from biggan_scale.engine.train import train
from support.command import finish, manifests
from support.command import train as start
from support.toys import toy_page

COLLAPSED = ("game.prior.type=truncated", "game.prior.threshold=0.01", "health.grace=20 rounds", "optim.G.lr=0")


@pytest.fixture(scope="module")
def images() -> Path:
    return open_dataset("packaged:emoji64", resolution=8, channels=3).path


def run(run_dir: Path, images: Path, *overrides: str) -> dict[str, Any]:
    """Train in this process; the last checkpoint's manifest."""
    assert train(load_config(toy_page(run_dir, images), [f"run_dir={run_dir}", *overrides])) == 0
    found = manifests(run_dir)
    return found[max(found)]


def health_of(run_dir: Path) -> dict[str, Any]:
    found = json.loads((run_dir / "health.json").read_text())
    del found["time"]
    return found


def records(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def test_watching_changes_nothing_of_the_run(images: Path, tmp_path: Path) -> None:
    on = run(tmp_path / "on", images, "until=60 rounds")
    off = run(tmp_path / "off", images, "until=60 rounds", "health.every=null")
    assert on["state_sha256"] == off["state_sha256"]
    assert not (tmp_path / "off/health.json").exists()


@pytest.mark.slow  # torchrun, twice
def test_two_ranks_are_watched_by_the_first_and_stay_equal(images: Path, tmp_path: Path) -> None:
    digests = []
    for name, every in (("on", "10 rounds"), ("off", "null")):
        page = toy_page(tmp_path / name, images)
        code, stderr = finish(start(page, "until=40 rounds", f"health.every={every}", ranks=2))
        assert code == 0, stderr
        digests.append(manifests(tmp_path / name)[640]["state_sha256"])
    assert digests[0] == digests[1]
    assert [entry["round"] for entry in health_of(tmp_path / "on")["history"]] == [10, 20, 30, 40]


def test_a_resumed_run_is_judged_as_an_undisturbed_one(images: Path, tmp_path: Path) -> None:
    run(tmp_path / "whole", images, "until=80 rounds")
    run(tmp_path / "parts", images, "until=40 rounds")
    run(tmp_path / "parts", images, "until=80 rounds")
    assert health_of(tmp_path / "parts") == health_of(tmp_path / "whole")


def test_what_was_measured_after_the_moment_of_resuming_is_forgotten(images: Path, tmp_path: Path) -> None:
    run(tmp_path / "run", images, "until=60 rounds")
    newest = checkpoint.checkpoints(tmp_path / "run/checkpoints")[0]
    (newest / "MANIFEST.json").write_text("{}")
    run(tmp_path / "run", images, "until=50 rounds")
    assert [entry["round"] for entry in health_of(tmp_path / "run")["history"]] == [10, 20, 30, 40, 50]


def test_a_history_that_cannot_be_read_is_begun_anew(images: Path, tmp_path: Path) -> None:
    run(tmp_path / "run", images, "until=20 rounds")
    (tmp_path / "run/health.json").write_text('{"history": [{"nimg": "x"}]}')
    run(tmp_path / "run", images, "until=40 rounds")
    assert [entry["round"] for entry in health_of(tmp_path / "run")["history"]] == [30, 40]


def test_sound_run_says_so_everywhere(images: Path, tmp_path: Path) -> None:
    manifest = run(tmp_path / "run", images, "until=40 rounds")
    assert manifest["healthy"] is True
    assert manifest["health"] == {"nimg": 640, "crossed": []}
    found = health_of(tmp_path / "run")
    assert (found["healthy"], found["alarms"], found["nimg"], found["round"]) == (True, [], 640, 40)
    assert len(found["singular_values"]["G.hidden.0"]) == 3
    record = records(tmp_path / "run")[-1]
    assert record["health/diversity"] == pytest.approx(found["values"]["diversity"], rel=1e-4)
    assert record["health/sigma/G.hidden.0"] == pytest.approx(found["singular_values"]["G.hidden.0"][0], rel=1e-4)
    log = (tmp_path / "run/log.txt").read_text()
    assert log.count("whether D overfits is not watched: health.held_out is not given") == 1


def test_measurements_between_two_records_are_logged_once(images: Path, tmp_path: Path) -> None:
    run(tmp_path / "run", images, "until=40 rounds", "log.every=5 rounds", "health.every=20 rounds")
    assert [record["round"] for record in records(tmp_path / "run") if "health/diversity" in record] == [20, 40]


def test_collapse_is_said_and_marks_the_checkpoints(images: Path, tmp_path: Path) -> None:
    run(tmp_path / "run", images, "until=60 rounds", *COLLAPSED, "checkpoint.every=10 rounds", "checkpoint.keep=2")
    kept = {nimg // 16: manifest["healthy"] for nimg, manifest in manifests(tmp_path / "run").items()}
    assert kept == {10: True, 50: False, 60: False}  # in its grace at 10; kept as the last healthy one
    (alarm,) = health_of(tmp_path / "run")["alarms"]
    assert (alarm["name"], alarm["confirmed"], alarm["since_nimg"]) == ("collapse", True, 20 * 16)
    log = (tmp_path / "run/log.txt").read_text()
    assert log.count("health at 0.480 kimg: collapse: generated images differ") == 1


def test_roll_back_on_alarm_goes_to_the_last_healthy_checkpoint_until_it_gives_up(images: Path, tmp_path: Path) -> None:
    with pytest.raises(DoNotRequeue, match=r"collapse: .*; given up after 1 roll-back"):
        run(
            tmp_path / "run",
            images,
            "until=60 rounds",
            *COLLAPSED,
            "checkpoint.every=10 rounds",
            "health.roll_back=true",
            "max_rollbacks=1",
        )
    assert "rolled back to 000000000.160-kimg with fresh noise (1 of 1)" in (tmp_path / "run/log.txt").read_text()


def test_a_run_that_is_rolled_back_from_a_passing_harm_completes_in_health(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_round = Engine.round

    def harmed_once(engine: Engine, batches: Any) -> Any:
        if engine.clock.round == 105 and not engine.rollbacks:
            engine.game.G.hidden[0].weight.data.zero_()  # z no longer reaches the image
        return play_round(engine, batches)

    monkeypatch.setattr(Engine, "round", harmed_once)
    manifest = run(tmp_path / "run", images, "until=160 rounds", "health.roll_back=true", "checkpoint.every=10 rounds", "optim.G.lr=1e-3")
    assert manifest["healthy"] is True
    assert "rolled back to 000000001.600-kimg" in (tmp_path / "run/log.txt").read_text()
    assert [entry["round"] for entry in health_of(tmp_path / "run")["history"]] == list(range(10, 170, 10))


def test_held_out_data_must_be_other_data_of_the_same_kind(images: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"health.held_out {images}: is the data trained on"):
        run(tmp_path / "run", images, f"health.held_out={images}")
    larger = open_dataset("packaged:emoji64", resolution=32, channels=3).path
    with pytest.raises(ConfigError, match=f"health.held_out {larger}: images are 32x32"):
        run(tmp_path / "run", images, f"health.held_out={larger}")
