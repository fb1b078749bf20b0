"""find the w that gives an image (StyleGAN line)

Into DIR: target.png, projected.png, comparison.png (target, start, result), w.safetensors and projection.json.
The distance is of pixels and of a fixed random network's features.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from biggan_scale.cli.sample import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", type=Path, help="a run directory, one of its checkpoints, or an export")
    parser.add_argument("image", metavar="IMAGE", type=Path, help="a PNG, JPEG or WebP file; cut and resized to fit")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a new folder, or one of an earlier projection")
    parser.add_argument("--space", choices=("w", "w+"), default="w", help="one w for all layers (default), or one for each")
    parser.add_argument("--steps", metavar="N", type=positive, default=500, help="of the descent (default 500)")
    parser.add_argument("--class", metavar="K", dest="label", type=int, help="start from this class's mean (default: all classes')")
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="of the noise (default 0)")
    parser.add_argument("--weights", choices=("ema", "raw"), default="ema", help="averaged (default), or as trained")


def run(args: argparse.Namespace) -> int:
    from biggan_scale.data.progress import Progress
    from biggan_scale.editing.projection import Settings, project_to

    settings = Settings(args.space, args.steps, seed=args.seed)
    with Progress("steps") as progress:
        record = project_to(args.source, args.image, args.out, settings, label=args.label, weights=args.weights, progress=progress.show)
    distance, pixels = record["distance"], record["pixels_rms"]
    print(f"distance {distance['start']:.4g} -> {distance['result']:.4g}, pixels (rms) {pixels['start']:.4g} -> {pixels['result']:.4g}")
    return 0
