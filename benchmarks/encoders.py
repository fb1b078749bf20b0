"""What encoders have learned without labels, over finished runs on one data set, as one JSON object.

    python benchmarks/encoders.py runs/a-seed0 runs/a-seed1 runs/b-seed0 --data data/shards --test-data data/shards_test

Of each run, by `biggan-scale evaluate`: the accuracy of linear probes of its encoder's features, as they are and with CReLU; the same of
its encoder before training (same architecture, same seed); and of its reconstructions the share whose class a classifier finds kept, beside
that of another image's reconstruction, which is chance. The probe of the pixels is one for all: in the size that the G of the first run
makes. Runs of one game are then put together: mean, and standard deviation over them (their seeds).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from biggan_scale.config import RunConfig, UserError, to_tree
from biggan_scale.engine import checkpoint
from biggan_scale.engine.loop import Engine
from biggan_scale.evaluation.evaluate import evaluate
from biggan_scale.evaluation.request import Request
from biggan_scale.export.source import find

CPU = torch.device("cpu")
PROBES = ("linear_probe", "linear_probe_crelu")
SUMMARISED = ("probe", "probe_untrained", "probe_crelu", "probe_crelu_untrained", "same_class", "same_class_unrelated", "pixels_relative")


def main() -> int:
    args = _arguments()
    torch.set_num_threads(1)
    try:
        runs = [measured(run, args) for run in args.runs]
        pixels, crelu = (metric(args.runs[0], name, "pixels", args) for name in PROBES)
    except UserError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return error.exit_code
    result = {
        "probe_pixels": pixels["value"],
        "probe_crelu_pixels": crelu["value"],
        "by_game": together(runs),
        "runs": runs,
        "data": args.data,
        "test_data": args.test_data,
    }
    print(json.dumps(result | {"num_train": pixels["num_train"], "num_test": pixels["num_test"], "torch": torch.__version__}, indent=1))
    return 0


def measured(run: Path, args: argparse.Namespace) -> dict[str, Any]:
    """The numbers of one run."""
    print(f"measuring {run}", file=sys.stderr, flush=True)
    source = find(run, args.weights)
    rebuilt = metric(run, "reconstruction", "classifier", args)
    with untrained(source.config) as beginning:
        before = [metric(beginning, name, "encoder", args)["value"] for name in PROBES]
    after = [metric(run, name, "encoder", args)["value"] for name in PROBES]
    return {
        "run": str(run),
        "game": source.config.game.type,
        "seed": source.config.seed,
        "nimg": source.provenance["nimg"],
        "state_sha256": source.provenance["state_sha256"],
        "probe": after[0],
        "probe_untrained": before[0],
        "probe_crelu": after[1],
        "probe_crelu_untrained": before[1],
        **{name: rebuilt[name] for name in ("same_class", "same_class_unrelated", "pixels_relative")},
    }


def metric(source: Path, name: str, features: str, args: argparse.Namespace) -> dict[str, Any]:
    request = Request((name,), features, args.num, args.data, args.test_data, seed=0, truncation=None)
    values: dict[str, Any] = evaluate(source, request, args.weights)["metrics"][name]
    return values


@contextmanager
def untrained(config: RunConfig) -> Iterator[Path]:
    """A checkpoint of what the training of this config begins with."""
    with tempfile.TemporaryDirectory() as folder:
        yield checkpoint.save(Path(folder), Engine(config, CPU).state_dict(), {"config": to_tree(config)})


def together(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the runs of a game; no deviation of a single run."""
    found: dict[str, Any] = {}
    for game in sorted({run["game"] for run in runs}):
        of_game = [run for run in runs if run["game"] == game]
        columns = {name: [run[name] for run in of_game] for name in SUMMARISED}
        found[game] = {"num_runs": len(of_game)} | {
            name: {"mean": statistics.mean(values), "std": statistics.stdev(values) if len(values) > 1 else None}
            for name, values in columns.items()
        }
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="runs, or checkpoints, of games with an encoder")
    parser.add_argument("--data", required=True, help="labelled images to probe with")
    parser.add_argument("--test-data", help="to judge the probes on (default: a fifth of --data)")
    parser.add_argument("--num", type=int, default=10_000, help="images of each kind (default 10000)")
    parser.add_argument("--weights", choices=("ema", "raw"), default="ema", help="averaged (default), or as trained")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
