"""Toys that go wrong by design, and the alarm that each is caught by; one that does not, and has none.

How often over many seeds is for `benchmarks/health.py` to say.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from biggan_scale.data.index import Dataset
from biggan_scale.data.packaged import open_dataset
from biggan_scale.engine.health.alarms import Alarm
from biggan_scale.engine.health.examples import read_examples
from biggan_scale.games.base import Move
from biggan_scale.games.gan import Gan
from data_tools.cli import main as biggan_data
from support.toys import toy_config, watched

BREAK = 100  # rounds until which the later toys are sound


@pytest.fixture(scope="module")
def images() -> Path:
    torch.set_num_threads(1)
    return open_dataset("packaged:emoji64", resolution=8, channels=3).path


def step(player: str, before: float, after: float) -> str:
    return f"optim.{player}.lr={{from: {before}, to: {after}, end: {BREAK} rounds, shape: step}}"


def alarms(run_dir: Path, data: Path, *overrides: str, rounds: int = 160) -> dict[str, tuple[int, Alarm]]:
    """name -> (round, alarm) of the first time it is confirmed."""
    found: dict[str, tuple[int, Alarm]] = {}
    for number, those in watched(toy_config(run_dir, data, *overrides), rounds):
        for name, alarm in those.items():
            if alarm.confirmed:
                found.setdefault(name, (number, alarm))
    return found


def test_sound_run_has_no_alarm(images: Path, tmp_path: Path) -> None:
    assert alarms(tmp_path / "run", images, rounds=200) == {}


def test_generator_that_gets_no_latents_has_collapsed(images: Path, tmp_path: Path) -> None:
    found = alarms(tmp_path / "run", images, "game.prior.type=truncated", "game.prior.threshold=0.01", "game.prior.dim=8", rounds=130)
    number, alarm = found["collapse"]
    assert number <= 120  # the grace ends at 100, patience takes one measurement more
    assert alarm.value is not None and alarm.value < 0.1


def test_d_that_stops_learning_is_lost_and_g_collapses_onto_what_it_likes(images: Path, tmp_path: Path) -> None:
    found = alarms(tmp_path / "run", images, step("D", 3e-3, 0), step("G", 3e-3, 3e-2))
    assert BREAK < found["lost"][0] <= 160
    assert BREAK < found["collapse"][0] <= 160


def test_learning_rates_times_fifty_explode(images: Path, tmp_path: Path) -> None:
    found = alarms(tmp_path / "run", images, "game.discriminator.spectral_norm=false", step("D", 3e-3, 0.15), step("G", 3e-3, 0.15))
    assert BREAK < found["explosion"][0] <= 160


def test_d_that_is_far_ahead_has_won(images: Path, tmp_path: Path) -> None:
    still = (step("G", 3e-3, 0), step("D", 3e-3, 1e-2))
    found = alarms(tmp_path / "run", images, "game.discriminator.spectral_norm=false", "game.loss=minimax", *still, rounds=200)
    assert found["won"][0] > BREAK


def test_d_that_knows_a_few_images_by_heart_is_overfitted(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By design: what G gives are other real images, so that nothing but knowing them tells the ones trained on."""
    assert biggan_data(["split", str(images), "--out", str(tmp_path / "split"), "--val", "0.992"]) == 0
    few, rest = (Dataset.open(tmp_path / "split" / part).path for part in ("train", "val"))
    found = {}
    for name, trained_on, held_out in (("few", few, rest), ("rest", rest, few)):
        config = toy_config(tmp_path / name, trained_on, f"health.held_out={held_out}", "game.discriminator.width=256", "health.num=128")
        others = read_examples(dataclasses.replace(config, data=dataclasses.replace(config.data, path=str(rest))), Dataset.open(rest))
        pool = others.floats(torch.device("cpu"), torch.float32)
        monkeypatch.setattr(Gan, "generate", lambda game, draw, pool=pool: pool[draw["z"][:, 0].mul(1e6).long() % len(pool)])
        monkeypatch.setattr(Gan, "moves", lambda game, clock: (Move("D", "D"),))
        found[name] = {alarm for _, alarms in watched(config, 150) for alarm in alarms}
    assert "overfitting" in found["few"]
    assert "overfitting" not in found["rest"]


def test_weight_that_is_not_finite_is_named(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy_config(tmp_path / "run", images, "optim.G.lr=1e38")
    found = dict(watched(config, 20))
    assert found[20]["not_finite"].confirmed
    assert "not finite" in found[20]["not_finite"].means
