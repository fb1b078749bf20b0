"""draw images from a run, a checkpoint or an export

Same seed, same images, whatever the number of images or ranks. Under torchrun: `torchrun ... -m -- biggan_scale.cli sample ...`;
without the -- torchrun takes --num for an option of its own. --sheet draws one picture of the latent space, of --num rows: truncation and
interpolation of any model, mixing of styles and the strongest directions of w of the StyleGAN line.
"""

from __future__ import annotations

import argparse
from pathlib import Path

SHEETS = ("truncation", "interpolation", "mixing", "directions")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", type=Path, help="a run directory, one of its checkpoints, or an export")
    parser.add_argument("--num", metavar="N", type=positive, required=True, help="how many images")
    parser.add_argument("--out", metavar="DIR|FILE.png|FILE.npz", type=Path, required=True, help="PNG files in DIR, a grid, or arrays")
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="of the noise (default 0)")
    parser.add_argument("--truncation", metavar="T", type=float, help="of the latents: less than 1 trades variety for quality")
    parser.add_argument("--classes", metavar="0,3", type=class_list, help="only these, in turn (default: drawn at random)")
    parser.add_argument("--weights", choices=("ema", "raw"), default="ema", help="averaged (default), or as trained")
    parser.add_argument("--sheet", choices=SHEETS, help="instead of samples, one picture (FILE.png) of what varies them")


def run(args: argparse.Namespace) -> int:
    if args.sheet:
        return sheet(args)

    from biggan_scale.data.progress import Progress
    from biggan_scale.export.sampling import sample_to

    with Progress("images") as progress:
        sample_to(
            args.source,
            args.out,
            num=args.num,
            seed=args.seed,
            truncation=args.truncation,
            classes=args.classes,
            weights=args.weights,
            progress=progress.show,
        )
    return 0


def sheet(args: argparse.Namespace) -> int:
    from biggan_scale.editing.sheets import sheet_to

    sheet_to(
        args.source,
        args.out,
        args.sheet,
        num=args.num,
        seed=args.seed,
        truncation=args.truncation,
        classes=args.classes,
        weights=args.weights,
    )
    return 0


def positive(text: str) -> int:
    """A whole number, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return int(text)


def class_list(text: str) -> list[int]:
    """Labels separated by commas."""
    if not all(part.isdecimal() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of classes like 0,3")
    return [int(part) for part in text.split(",")]
