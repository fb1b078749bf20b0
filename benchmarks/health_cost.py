"""What watching a run's health costs, as a part of the processor time of training. JSON.

    python benchmarks/health_cost.py
    python benchmarks/health_cost.py --config demo --rounds 5

One process on random images: a round, a measurement (diversity and scores with held-out images; the singular values of every weight),
each the median of a few, and from them the part that the page's `health.every` makes of it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from step import random_batches

from biggan_scale import __version__
from biggan_scale.config import load_config
from biggan_scale.engine.health.examples import Examples
from biggan_scale.engine.health.measure import measure_samples, measure_weights
from biggan_scale.engine.loop import Engine


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default=str(Path(__file__).with_name("step.yaml")), help="a page (default benchmarks/step.yaml)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is timed (default 3)")
    parser.add_argument("overrides", metavar="key=value", nargs="*", help="settings over the page's")
    args = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    print(json.dumps(measure(args.config, args.overrides, args.rounds), indent=1))
    return 0


def measure(page: str, overrides: list[str], rounds: int) -> dict[str, Any]:
    """Everything that is printed."""
    config = load_config(page, overrides).config
    engine, spec = Engine(config, torch.device("cpu")), config.image_spec()
    images = torch.randint(256, (config.health.num, spec.channels, spec.height, spec.width), dtype=torch.uint8)
    real = Examples(images, torch.arange(len(images)) % spec.num_classes if spec.num_classes else None)
    parts: dict[str, Callable[[], object]] = {
        "round": lambda: engine.round(random_batches(engine)),
        "samples": lambda: measure_samples(engine, real, real),
        "weights": lambda: measure_weights(engine.game),
    }
    seconds = {name: [cpu_seconds(part) for _ in range(rounds + 1)][1:] for name, part in parts.items()}  # the first warms up
    cpu_s = {name: statistics.median(times) for name, times in seconds.items()}
    assert config.health.every is not None
    every = (config.health.every.images(engine.images_per_round) or 1) / engine.images_per_round
    return {
        "cpu_s": {name: round(value, 4) for name, value in cpu_s.items()},
        "measurement_in_rounds": round((cpu_s["samples"] + cpu_s["weights"]) / cpu_s["round"], 3),
        "every_rounds": every,
        "part_of_training": round((cpu_s["samples"] + cpu_s["weights"]) / cpu_s["round"] / every, 5),
        "parameters": sum(p.numel() for p in engine.game.parameters()),
        "config": Path(page).name,
        "overrides": overrides,
        "load": round(os.getloadavg()[0], 2),
        "versions": {"biggan_scale": __version__, "torch": torch.__version__},
    }


def cpu_seconds(action: Callable[[], object]) -> float:
    began = time.process_time()
    action()
    return time.process_time() - began


if __name__ == "__main__":
    sys.exit(main())
