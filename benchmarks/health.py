"""How often the watch over a run's health catches toys that go wrong by design, and cries wolf over those that do not. JSON.

    python benchmarks/health.py
    python benchmarks/health.py --seeds 20 --only healthy,collapse --rounds 500

Every toy is a page: fully connected networks on the packaged images at 8x8 px, 32 images a batch. Most are sound until BREAK rounds
and then go wrong. `caught` counts the seeds with the alarm (or one of the alarms) that the toy is made for, confirmed; `after` is
how many rounds after the toy went wrong; `early` are confirmed alarms before that, `others` other alarms after it. `recovery` is
of runs whose generator is harmed once, with `health.roll_back`: caught, rolled back, and complete without an alarm.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from biggan_scale import __version__
from biggan_scale.config import Loaded, UserError, load_config
from biggan_scale.data.packaged import open_dataset
from biggan_scale.engine.feed import Feed, open_checked
from biggan_scale.engine.health.watch import Health
from biggan_scale.engine.loop import Engine
from biggan_scale.engine.run_dir import RunDir
from biggan_scale.engine.train import train
from biggan_scale.games.base import Batch
from data_tools.cli import main as biggan_data

PAGE = """
run_dir: RUN_DIR
until: 500 rounds
batch_size: 32
precision: fp32
game:
  type: gan
  loss: hinge
  prior: {type: normal, dim: 16}
  generator: {type: mlp, width: 64}
  discriminator: {type: mlp, width: 64}
data: {path: "packaged:emoji64", resolution: 8, num_classes: 0, workers: 0}
optim:
  D: {lr: 1e-3, betas: [0.0, 0.99], eps: 1e-8}
  G: {lr: 1e-3, betas: [0.0, 0.99], eps: 1e-8}
ema: {decay: 0}
health: {every: 20 rounds, grace: 200 rounds}
log: {every: 20 rounds, tensorboard: false}
snapshot: {every: 1 Mimg}
checkpoint: {every: 40 rounds}
"""
RECOVERY = "recovery"
BREAK = 300  # rounds after which a toy goes wrong
UNNORMALISED = ("game.discriminator.spectral_norm=false",)
FEW, REST = "{few}/train", "{few}/val"  # 15 or so of the images, and all others


def step(player: str, before: float, after: float) -> str:
    return f"optim.{player}.lr={{from: {before}, to: {after}, end: {BREAK} rounds, shape: step}}"


@dataclass(frozen=True)
class Toy:
    """What a page is changed by, from which round on it is wrong, and which alarms should say so (none: it is sound)."""

    overrides: tuple[str, ...]
    wrong_from: int = 0
    alarms: tuple[str, ...] = ()


TOYS = {
    "healthy": Toy(()),
    "healthy_by_class": Toy(("data.num_classes=9",)),
    "healthy_unnormalised": Toy((*UNNORMALISED, "game.loss=non_saturating")),
    "healthy_held_out": Toy(("data.path={half}/train", "health.held_out={half}/val")),
    "no_latent": Toy(("game.prior.type=truncated", "game.prior.threshold=0.01"), 0, ("collapse",)),
    "d_stops": Toy((step("D", 1e-3, 0), step("G", 1e-3, 1e-2)), BREAK, ("collapse", "lost")),
    "lr_x50": Toy((*UNNORMALISED, step("D", 1e-3, 5e-2), step("G", 1e-3, 5e-2)), BREAK, ("explosion",)),
    "few_images": Toy(
        (f"data.path={FEW}", f"health.held_out={REST}", "game.d_steps=2", "game.discriminator.width=256", "optim.D.lr=4e-3", *UNNORMALISED),
        0,
        ("overfitting",),
    ),
    "d_too_strong": Toy((*UNNORMALISED, "game.loss=minimax", step("D", 1e-3, 1e-2), step("G", 1e-3, 1e-5)), BREAK, ("won",)),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--only", default=",".join([*TOYS, RECOVERY]), help="toys, by name")
    args = parser.parse_args()
    names = args.only.split(",")
    torch.set_num_threads(1)
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        data = make_data(Path(folder))
        found = {name: summary(TOYS[name], play_all(TOYS[name], args, data, Path(folder) / name)) for name in names if name in TOYS}
        if RECOVERY in names:
            found[RECOVERY] = recovery([recover(seed, args.rounds, Path(folder) / RECOVERY / str(seed)) for seed in range(args.seeds)])
    about = {"cpu_s": round(time.process_time() - began, 1), "seeds": args.seeds, "rounds": args.rounds, "break": BREAK}
    versions = {"biggan_scale": __version__, "torch": torch.__version__}
    print(json.dumps({"toys": found, **about, "load": round(os.getloadavg()[0], 2), "versions": versions}, indent=1))
    return 0


def make_data(folder: Path) -> dict[str, str]:
    """The packaged images, split in two ways."""
    whole = open_dataset("packaged:emoji64", resolution=8, channels=3).path
    for name, share in {"half": "0.5", "few": "0.996"}.items():
        with redirect_stdout(sys.stderr):
            assert biggan_data(["split", str(whole), "--out", str(folder / name), "--val", share]) == 0
    return {name: str(folder / name) for name in ("half", "few")}


def play_all(toy: Toy, args: argparse.Namespace, data: dict[str, str], folder: Path) -> list[list[tuple[int, tuple[str, ...]]]]:
    return [play(toy, seed, args, data, folder / str(seed)) for seed in range(args.seeds)]


def play(toy: Toy, seed: int, args: argparse.Namespace, data: dict[str, str], run_dir: Path) -> list[tuple[int, tuple[str, ...]]]:
    """(round, confirmed alarms) of every measurement of one run."""
    config = page(run_dir, toy.overrides, seed, data).config
    dataset = open_checked(config)
    engine = Engine(config, torch.device("cpu"))
    every = config.health.every
    assert every is not None
    found = []
    health = Health(engine, dataset, RunDir(run_dir), lambda message: None)
    with Feed(config, dataset, engine) as feed:
        for number in range(1, args.rounds + 1):
            health.watch(engine.round(feed.next_round()))
            if number % every.value == 0:
                health.measure()
                found.append((number, tuple(alarm.name for alarm in health.alarms if alarm.confirmed)))
    return found


def page(run_dir: Path, overrides: tuple[str, ...], seed: int, data: dict[str, str]) -> Loaded:
    run_dir.mkdir(parents=True)
    file = run_dir / "page.yaml"
    file.write_text(PAGE.replace("RUN_DIR", str(run_dir)))
    for name, path in data.items():
        overrides = tuple(override.replace(f"{{{name}}}", path) for override in overrides)
    return load_config(str(file), [*overrides, f"seed={seed}"])


def recover(seed: int, rounds: int, run_dir: Path) -> dict[str, bool]:
    """A run whose generator forgets its latents at round BREAK, once: only weights from before can mend that."""
    play_round = Engine.round

    def harmed_once(engine: Engine, batches: list[list[Batch]]) -> dict[str, Tensor]:
        if engine.clock.round == BREAK and not engine.rollbacks:
            engine.game.G.hidden[0].weight.data.zero_()  # type: ignore[union-attr, index]
        return play_round(engine, batches)

    loaded = page(run_dir, (f"until={rounds} rounds", "health.roll_back=true"), seed, {})
    with patch.object(Engine, "round", harmed_once):
        try:
            completed = train(loaded) == 0
        except UserError:
            completed = False
    said = (run_dir / "log.txt").read_text()
    healthy = json.loads((run_dir / "health.json").read_text())["healthy"]
    return {"caught": "rolled back to" in said, "recovered": completed and healthy, "again": said.count("rolled back to") > 1}


def recovery(runs: list[dict[str, bool]]) -> dict[str, int]:
    return {"runs": len(runs)} | {name: sum(run[name] for run in runs) for name in runs[0]}


def summary(toy: Toy, runs: list[list[tuple[int, tuple[str, ...]]]]) -> dict[str, Any]:
    first = [min((n for n, alarms in run if n > toy.wrong_from and set(alarms) & set(toy.alarms)), default=None) for run in runs]
    after = [number - toy.wrong_from for number in first if number is not None]
    early = [sorted({alarm for n, alarms in run if n <= toy.wrong_from for alarm in alarms}) for run in runs]
    others = [sorted({alarm for n, alarms in run if n > toy.wrong_from for alarm in alarms} - set(toy.alarms)) for run in runs]
    return {
        "expected": toy.alarms,
        "runs": len(runs),
        "caught": len(after) if toy.alarms else None,
        "by": {name: sum(any(name in alarms for n, alarms in run if n > toy.wrong_from) for run in runs) for name in toy.alarms},
        "after_rounds": {"median": statistics.median(after), "max": max(after)} if after else None,
        "early": counted(early),
        "others": counted(others),
        "runs_with_false_alarms": sum(bool(e or (o and not toy.alarms)) for e, o in zip(early, others, strict=True)),
    }


def counted(lists: list[list[str]]) -> dict[str, int]:
    return {name: sum(name in names for names in lists) for name in sorted({name for names in lists for name in names})}


if __name__ == "__main__":
    sys.exit(main())
