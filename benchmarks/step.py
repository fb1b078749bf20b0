"""Images per second and peak memory of a full training round, as one JSON object.

    python benchmarks/step.py
    python benchmarks/step.py --config benchmarks/step.yaml --batch 16 --threads 1 --rounds 10 precision=bf16
    python benchmarks/step.py --game stylegan2 --peer ../stylegan2-ada-pytorch --threads 1 --rounds 16 --warmup 1

With --peer the rounds of another project's training step are taken in turn with ours, in a second process, on the same widths,
batch, regularisers and threads (`peer_stylegan2_ada.py`); 16 rounds are one cycle of StyleGAN2's lazy regularisers.

A round is all of it: every move of the game (forward, backward, regularisation, optimizer step), EMA and the clock, in one
process, on random images that are already in memory. Compare medians of runs that took turns on a quiet machine; `load` in the
output tells whether it was, and `cpu_s` (of all threads) suffers less from it than the time on the wall.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from in_turn import peak_rss_mb, race
from peer_stylegan2_ada import Stylegan2Ada

from biggan_scale import __version__
from biggan_scale.config import ConfigError, RunConfig, UserError, load_config
from biggan_scale.engine.loop import Engine
from biggan_scale.games.base import Batch


def main() -> int:
    args = _arguments()
    torch.set_num_threads(args.threads)
    try:
        print(json.dumps(compare(args) if args.peer else measure(args), indent=1))
    except UserError as error:
        print(f"step.py: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that is printed."""
    config = page(args)
    engine = Engine(config, torch.device(args.device))
    rss_before = peak_rss_mb()
    seconds, cpu_seconds = [], []
    for number in range(args.warmup + args.rounds):
        batches = random_batches(engine)
        began, cpu_began = time.perf_counter(), time.process_time()
        engine.round(batches)
        wait(engine.device)
        if number >= args.warmup:
            seconds.append(time.perf_counter() - began)
            cpu_seconds.append(time.process_time() - cpu_began)
    images = engine.images_per_round
    return {
        "img_per_s": round(images / statistics.median(seconds), 3),
        "round_s": {"median": statistics.median(seconds), "min": min(seconds), "all": seconds},
        "cpu_s": {"median": statistics.median(cpu_seconds)},
        "images_per_round": images,
        "peak_rss_mb": peak_rss_mb(),
        "rss_before_rounds_mb": rss_before,
        "peak_gpu_mb": torch.cuda.max_memory_allocated(engine.device) // 2**20 if engine.device.type == "cuda" else None,
        "parameters": {player: sum(p.numel() for p in o.parameters.values()) for player, o in engine.optimizers.items()},
    } | conditions(args, config)


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """The same of ours and of a peer in turn. Ratios are of sums over the timed rounds; above 1 ours is faster, or takes less memory."""
    config = page(args)
    load = os.getloadavg()[0]
    makers: dict[str, Any] = {"ours": partial(ours, args), "peer": partial(stylegan2_ada, args)}
    found = race(makers, args.rounds, args.warmup, args.threads)
    for who in found.values():
        who["img_per_s"] = round(who["images_per_round"] * args.rounds / sum(who["s"]), 3)
        who["img_per_cpu_s"] = round(who["images_per_round"] * args.rounds / sum(who["cpu_s"]), 3)
    mine, theirs = found["ours"], found["peer"]
    if mine["parameters"] != theirs["parameters"]:
        raise ConfigError(f"not the same networks: parameters {mine['parameters']} and {theirs['parameters']}")
    ratios = {
        "time": sum(theirs["s"]) / sum(mine["s"]),
        "processor time": sum(theirs["cpu_s"]) / sum(mine["cpu_s"]),
        "processor time, median of rounds": statistics.median(a / b for a, b in zip(theirs["cpu_s"], mine["cpu_s"], strict=True)),
        "peak memory": theirs["peak_rss_mb"] / mine["peak_rss_mb"],
    }
    return {"ratio": {name: round(value, 3) for name, value in ratios.items()}} | found | {"load_before": load} | conditions(args, config)


def ours(args: argparse.Namespace) -> Ours:
    return Ours(page(args))


def stylegan2_ada(args: argparse.Namespace) -> Stylegan2Ada:
    return Stylegan2Ada(Path(args.peer), page(args))


class Ours:
    """Our round, as one of those who take turns."""

    def __init__(self, config: RunConfig) -> None:
        self.engine = Engine(config, torch.device("cpu"))
        self.images_per_round = self.engine.images_per_round
        self.parameters = {player: sum(p.numel() for p in o.parameters.values()) for player, o in self.engine.optimizers.items()}

    def new_data(self) -> None:
        self.batches = random_batches(self.engine)

    def step(self) -> None:
        self.engine.round(self.batches)


def page(args: argparse.Namespace) -> RunConfig:
    overrides = [*args.overrides, *([f"batch_size={args.batch}"] if args.batch else [])]
    return load_config(config_file(args), overrides).config


def config_file(args: argparse.Namespace) -> str:
    name = f"step_{args.game}.yaml" if args.game else "step.yaml"
    return args.config or str(Path(__file__).with_name(name))


def conditions(args: argparse.Namespace, config: RunConfig) -> dict[str, Any]:
    """What a figure depends on."""
    return {
        "config": config_file(args),
        "overrides": args.overrides,
        "batch_size": config.batch_size,
        "precision": config.precision,
        "threads": args.threads,
        "device": args.device,
        "machine": {"processor": processor(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 2)},
        "versions": {"biggan_scale": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def random_batches(engine: Engine) -> list[list[Batch]]:
    """A round's global batches, as micro-batches at the clock's positions."""
    spec, ranges = engine.config.image_spec(), engine.ranges()

    def batch() -> Batch:
        positions = tuple(range(*next(ranges)))
        images = torch.rand(len(positions), spec.channels, spec.height, spec.width, dtype=engine.precision.dtype) * 2 - 1
        layout = torch.channels_last if engine.config.channels_last else torch.contiguous_format
        labels = torch.randint(spec.num_classes, (len(positions),)).to(engine.device) if spec.num_classes else None
        return Batch(images.to(engine.device, memory_format=layout), labels, positions)

    return [[batch() for _ in range(engine.num_micro)] for _ in range(engine.batches_per_round)]


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", help="a page (default: step.yaml beside this file)")
    parser.add_argument("--game", choices=("stylegan2",), help="instead: step_GAME.yaml")
    parser.add_argument("--peer", metavar="PATH", help="a checkout of stylegan2-ada-pytorch, to take turns with")
    parser.add_argument("--batch", type=int, help="images in a global batch (default: the page's)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch (default: all cores)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds timed (default 5)")
    parser.add_argument("--warmup", type=int, default=2, help="rounds before these (default 2)")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("overrides", metavar="key=value", nargs="*", help="settings over the page's")
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    sys.exit(main())
