"""tell what a run will need before it is submitted: memory, FLOPs, messages, time

Computed from the shapes of the real networks. Speed and time are estimates: peak FLOP/s of the device times an assumed share.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from biggan_scale.config import RunConfig, load_config

if TYPE_CHECKING:
    from biggan_scale.engine.plan import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="a YAML file, or the name of a page in configs/")
    parser.add_argument("overrides", metavar="key=value", nargs="*", default=[], help="settings over the page's")
    parser.add_argument("--world", type=int, required=True, metavar="N", help="number of ranks")
    parser.add_argument(
        "--device",
        metavar="KIND",
        help="kind of GPU, like a100-40gb, or cpu: whether it fits, and how fast it may be (default: slurm.device)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    config = load_config(args.config, args.overrides).config
    plan = make(config, args.world, args.device or config.slurm.device)
    print(json.dumps(dataclasses.asdict(plan) | {"fits": plan.fits}) if args.json else describe(plan))
    return 0


def make(config: RunConfig, world: int, device: str | None) -> Plan:
    """`engine.plan.make_plan`, which loads torch."""
    from biggan_scale.engine.plan import make_plan

    return make_plan(config, world, device)


def describe(plan: Plan) -> str:
    """The plan for people."""
    from biggan_scale.engine.plan import UTILISATION

    until = "by wall time" if plan.until_images is None else f"{plan.until_images:,} images"
    lines = {
        "batch": f"{plan.world} (ranks) x {plan.num_micro} (micro-batches) x {plan.micro_batch} (images)",
        "parameters": ", ".join(f"{name} {number / 1e6:.2f} M" for name, number in plan.parameters.items()),
        "weights": _size(plan.weights),
        "optimizer": _size(plan.optimizer),
        "averages": _size(plan.ema),
        "gradients": _size(plan.gradients),
        "DDP buckets": _size(plan.buckets),
        "activations": _size(plan.activations),
        "peak": f"{_size(plan.peak)} per rank, without temporaries of the kernels",
        "FLOPs": f"{plan.flops_per_image / 1e9:10.2f} G per image",
        "all-reduce": f"{_size(plan.reduced_per_round)} of gradients per rank and round",
        "broadcast": f"{_size(plan.broadcast_per_round)} of weights per rank and round",
        "checkpoint": f"{_size(plan.checkpoint)}; {_size(plan.checkpoints).strip()} of disk for those kept and one being written",
        "until": f"{until}, {plan.images_per_round:,} a round",
    }
    if plan.device is not None:
        lines["fits"] = f"yes, {plan.device}" if plan.fits else f"no: {shortage(plan)}"
        share = "what a convolution reaches here" if plan.device == "cpu" else f"{UTILISATION:.0%} of the peak of {plan.device}"
        lines["speed"] = f"at most {plan.img_per_s:,.0f} img/s, if all FLOPs ran at {share}: an assumption"
    if plan.seconds is not None:
        lines["time"] = f"at least {span(plan.seconds)}, at that speed"
    return "\n".join(f"{name:12} {text}" for name, text in lines.items())


def shortage(plan: Plan) -> str:
    """Of a plan that does not fit its device: what is missing, and what would help."""
    from biggan_scale.engine.plan import USABLE

    has = f"needs {plan.peak / 1e9:.1f} GB per rank, {plan.device} has {plan.device_gb:.3g} ({USABLE:.0%} usable)"
    if not plan.max_micro_batch:
        return f"{has}: not even micro_batch=1 fits"
    return f"{has}: set micro_batch={plan.max_micro_batch} ({plan.micro_batch * plan.num_micro // plan.max_micro_batch} x accumulation)"


def span(seconds: float) -> str:
    """A time in the largest unit it has one of."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.0f} s"


def _size(count: float) -> str:
    return f"{count / 1e9:10.2f} GB" if count >= 1e8 else f"{count / 1e6:10.2f} MB"
