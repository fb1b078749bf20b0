"""write a run's model as a folder that others can load

config.json, model.safetensors (the averaged weights, plain) and README.md, a model card; with the formats onnx and torch-export also the
generator (and the encoder) as a graph that runs without this package.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

FORMATS = ("hub", "onnx", "torch-export")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="a run directory, or one of its checkpoints; for a graph an export too")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where the folder goes")
    parser.add_argument("--format", choices=FORMATS, default="hub", help="hub: the layout of model hubs (default); others add graphs to it")


def run(args: argparse.Namespace) -> int:
    from biggan_scale.export.hub import export_run

    checkpoint = export_run(args.run_dir, args.out, args.format)
    print(f"exported {checkpoint} to {args.out}", file=sys.stderr)
    return 0
