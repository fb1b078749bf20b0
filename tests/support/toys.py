"""Runs that are over in a second, and go wrong when they are told to: fully connected networks on images of 8x8 px."""

from __future__ import annotations

from pathlib import Path

import torch

from biggan_scale.config import RunConfig, load_config
from biggan_scale.engine.feed import Feed, open_checked
from biggan_scale.engine.health.alarms import Alarm
from biggan_scale.engine.health.watch import Health
from biggan_scale.engine.loop import Engine
from biggan_scale.engine.run_dir import RunDir

PAGE = """
run_dir: RUN_DIR
until: 100 rounds
batch_size: 16
precision: fp32
game:
  type: gan
  prior: {type: normal, dim: 8}
  generator: {type: mlp, width: 64}
  discriminator: {type: mlp, width: 64}
data: {path: DATA, resolution: 8, workers: 0}
optim:
  D: {lr: 3e-3, betas: [0.0, 0.99], eps: 1e-8}
  G: {lr: 3e-3, betas: [0.0, 0.99], eps: 1e-8}
ema: {decay: 0}
log: {every: 10 rounds, tensorboard: false}
snapshot: {every: 1 Mimg}
checkpoint: {every: 20 rounds}
health: {every: 10 rounds, grace: 100 rounds, num: 48}
"""


def toy_page(run_dir: Path, data: Path) -> str:
    """The path of the page, in a folder beside the run."""
    page = run_dir.with_suffix(".yaml")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(PAGE.replace("RUN_DIR", str(run_dir)).replace("DATA", str(data)))
    return str(page)


def toy_config(run_dir: Path, data: Path, *overrides: str) -> RunConfig:
    return load_config(toy_page(run_dir, data), overrides).config


def watched(config: RunConfig, rounds: int) -> list[tuple[int, dict[str, Alarm]]]:
    """(round, alarms by name) of every measurement of a run."""
    dataset = open_checked(config)
    engine = Engine(config, torch.device("cpu"))
    health = Health(engine, dataset, RunDir(config.run_dir), lambda message: None)
    assert config.health.every is not None
    found = []
    with Feed(config, dataset, engine) as feed:
        for number in range(1, rounds + 1):
            health.watch(engine.round(feed.next_round()))
            if number % config.health.every.value == 0:
                health.measure()
                found.append((number, {alarm.name: alarm for alarm in health.alarms}))
    return found
