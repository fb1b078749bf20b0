"""pack images into shards

The source is told by its content: a folder (of class folders, or flat), a zip, an idx file of the MNIST family, an LMDB, Parquet
files as Hugging Face has them, a CIFAR archive, or webdataset tars (a folder of them, a glob, or a list like 'a-{00..63}.tar').
Orientation by EXIF is applied, transparency laid on white (but kept by --channels 4), 16 bits become 8, CMYK becomes RGB.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from biggan_scale.config.errors import DataError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    formats = ("auto", "folder", "zip", "idx", "lmdb", "parquet", "cifar", "webdataset")
    crops, filters, encodings = ("center", "wide", "adm", "none"), ("lanczos", "box", "bicubic"), ("jpeg", "png", "webp", "raw", "keep")
    parser.usage = f"{parser.prog} --source S --out DIR [options]"  # all of them would fill half a screen
    parser.add_argument("--source", required=True, metavar="S", help="where the images are")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="new or empty directory")
    parser.add_argument("--resolution", type=_resolution, metavar="R", help="side, or WIDTHxHEIGHT (default: the source's)")
    parser.add_argument("--crop", default="center", choices=crops, metavar="C", help="center, wide (on black), adm, or none: stretch")
    parser.add_argument("--filter", default="lanczos", choices=filters, metavar="F", help="of the resize: lanczos, box, bicubic")
    parser.add_argument("--format", default="auto", choices=formats, metavar="F", help=f"{', '.join(formats)}")
    parser.add_argument("--labels", default="auto", metavar="L", help="auto, none, or a csv with lines name,label")
    parser.add_argument("--subset", default="train", choices=("train", "test"), metavar="S", help="of CIFAR: train (default), test")
    parser.add_argument("--columns", type=_columns, metavar="I[,L]", help="of Parquet: image and label (default: found)")
    parser.add_argument("--channels", type=int, choices=(1, 3, 4), metavar="N", help="1 grey, 3 RGB (default: the source's), 4 alpha")
    parser.add_argument("--encode", default="png", choices=encodings, metavar="E", help="jpeg, png, webp, raw, keep (as it is, if it fits)")
    parser.add_argument("--quality", type=int, default=95, metavar="Q", help="of jpeg (default 95)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the shuffle (default 0)")
    parser.add_argument("--shard-size", type=size_in_bytes, default=128 * 10**6, metavar="SIZE", help="largest shard (default 128MB)")
    parser.add_argument("--shard-samples", type=int, default=2**20, metavar="N", help="most samples in a shard")
    parser.add_argument("--max-pixels", type=int, default=64 * 10**6, metavar="N", help="largest source image (default 64 million)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes; the result is the same (default 1)")
    parser.add_argument("--on-error", default="stop", choices=("report", "stop"), metavar="DO", help="stop, or report: skip, end with 3")
    parser.add_argument("--resume", action="store_true", help="go on where the same command was stopped")
    parser.add_argument("--part", type=_part, default=(1, 1), metavar="K/N", help="pack the K-th of N parts; `merge` joins them")


def run(args: argparse.Namespace) -> int:
    from biggan_scale.data.pack import REPORT_FILE, PackOptions, check, pack
    from biggan_scale.data.progress import Progress
    from biggan_scale.data.sources import open_source

    options = PackOptions(
        resolution=args.resolution,
        channels=args.channels,
        encode=args.encode,
        quality=args.quality,
        use_labels=args.labels != "none",
        seed=args.seed,
        shard_bytes=args.shard_size,
        shard_samples=args.shard_samples,
        max_pixels=args.max_pixels,
        on_error=args.on_error,
        crop=args.crop,
        filter=args.filter,
        labels_csv=None if args.labels in ("auto", "none") else Path(args.labels),
        part=args.part,
    )
    check(options)
    source = open_source(args.source, args.format, args.subset, args.columns)
    with Progress("images") as progress:
        packed = pack(source, args.out, options, args.workers, progress.show, args.resume)
    summary = summary_of(packed, args.out)
    if args.part[1] > 1:
        summary["part"] = "{}/{}".format(*args.part)
    print(json.dumps(summary) if args.json else describe(summary))
    if packed.num_skipped:
        total = packed.num_skipped + packed.dataset.num_samples
        report = REPORT_FILE if options.is_whole else "report-{}-of-{}.jsonl".format(*args.part)
        raise DataError(f"{packed.num_skipped} of {total} images were left out; {args.out / report} says which and why")
    return 0


def summary_of(packed, out: Path) -> dict[str, object]:  # type: ignore[no-untyped-def] # Packed; numpy stays unloaded until `run`
    dataset = packed.dataset
    return {
        "out": str(out),
        "images": dataset.num_samples,
        "classes": dataset.num_classes,
        "height": dataset.height,
        "width": dataset.width,
        "channels": dataset.channels,
        "encode": dataset.encode,
        "shards": len(dataset.shards),
        "bytes": sum(shard.bytes for shard in dataset.shards),
        "upscaled": packed.num_upscaled,
        "skipped": packed.num_skipped,
        "ignored_files": packed.num_ignored,
        "resumed": packed.num_resumed,
        "fingerprint": dataset.fingerprint,
    }


def describe(summary: dict[str, object]) -> str:
    lines = [
        "{images} images of {classes} classes, {width}x{height}, {channels} channels, {encode}: "
        "{shards} shards, {bytes} bytes in {out}".format(**summary),
        "this is part {part}; when all are packed: biggan-data merge {out}".format(**summary)
        if "part" in summary
        else "fingerprint {fingerprint}".format(**summary),
    ]
    if summary["resumed"]:
        lines.append("{resumed} of {images} images had been packed before".format(**summary))
    if summary["upscaled"]:
        lines.append("{upscaled} of {images} images were smaller and have been enlarged".format(**summary))
    if summary["ignored_files"]:
        lines.append("{ignored_files} files of the source are not images and were ignored".format(**summary))
    return "\n".join(lines)


def size_in_bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+)\s*([kMG]?)B?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 128MB")
    return int(match[1]) * {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}[match[2]]


def _resolution(text: str) -> tuple[int, int]:
    """(height, width)"""
    match = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a side in pixels nor WIDTHxHEIGHT")
    return int(match[2] or match[1]), int(match[1])


def _part(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text)
    if not match or int(match[1]) > int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a part such as 1/8; parts are counted from 1")
    return int(match[1]), int(match[2])


def _columns(text: str) -> tuple[str, ...]:
    columns = tuple(text.split(","))
    if not 1 <= len(columns) <= 2 or not all(columns):
        raise argparse.ArgumentTypeError(f"{text!r} is neither IMAGE nor IMAGE,LABEL")
    return columns
