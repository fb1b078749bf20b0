"""measure a model: distances to real images, neighbours, linear probes

Every number comes with all it depends on. docs/metrics.md says what each means.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any

from biggan_scale.cli.sample import positive
from biggan_scale.evaluation.request import DEFAULT_FEATURES, DEFAULT_METRICS, FEATURES, METRICS, Request, parse_metrics

DEFAULT_NUM = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", type=Path, help="a run directory, one of its checkpoints, or an export")
    parser.add_argument("--data", metavar="SHARDS", required=True, help="real images: directory, URL or packaged:NAME")
    metrics = f"of {', '.join(METRICS)} (default {','.join(DEFAULT_METRICS)})"
    parser.add_argument("--metrics", metavar="A,B", type=parse_metrics, default=DEFAULT_METRICS, help=metrics)
    parser.add_argument("--num", metavar="N", type=positive, default=DEFAULT_NUM, help=f"images of each kind (default {DEFAULT_NUM})")
    features = f"of {', '.join(FEATURES)} (default {DEFAULT_FEATURES}), or a file of Inception's weights"
    parser.add_argument("--features", metavar="F|FILE", default=DEFAULT_FEATURES, help=features)
    parser.add_argument("--test-data", metavar="SHARDS", help="judges probes (default: a fifth of --data)")
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="of the noise (default 0)")
    parser.add_argument("--truncation", metavar="T", type=float, help="of the latents")
    parser.add_argument("--weights", choices=("ema", "raw"), default="ema", help="averaged (default), or as trained")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    request = Request(args.metrics, args.features, args.num, args.data, args.test_data, args.seed, args.truncation)

    from biggan_scale.data.progress import Progress
    from biggan_scale.evaluation.evaluate import evaluate

    with Progress("images") as progress:
        result = evaluate(args.source, request, args.weights, progress.show)
    if os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0":
        print(json.dumps(result) if args.json else describe(result))
    return 0


def describe(result: dict[str, Any]) -> str:
    """The result for people."""
    source, features = result["source"], result["features"]
    lines = [
        f"{source['path']}, {source.get('nimg', '?')} images seen, {source.get('weights', 'ema')} weights",
        f"features: {features['name']}, {features['what']}" + "; not comparable with papers" * (not features["comparable_with_papers"]),
    ]
    for name, values in result["metrics"].items():
        shown = (f"{key} {_short(value)}" for key, value in values.items() if isinstance(value, (int, float)))
        lines.append(f"  {name:15} {', '.join(shown)}")
    return "\n".join(lines)


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) or not math.isfinite(value) else f"{value:.4g}"
