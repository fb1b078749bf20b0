"""Loading and packing in images per second of processor time, beside what others use, as one JSON object.

    python benchmarks/data.py
    python benchmarks/data.py --sizes 64 --rounds 9 --images 4000
    python benchmarks/data.py --parts workers          # on a machine whose cores are free

Reading: our loader, stock webdataset's usual pipeline (shuffle(1000), decode("pil")), the zip of StyleGAN's programs (PNG without
compression, ZipFile and PIL), files and PIL, and the decoder alone on bytes in memory; all in this process, on the same images
as JPEG (quality 95, 4:4:4; the zip as PNG), each to mirrored uint8 batches of 64. Packing: raw pixels into JPEG and PNG shards,
beside the encoder alone on the same pixels in the same order. Workers: the same into PNG with two workers beside one, on the wall.

Contestants take turns. Speeds are medians over the rounds; a ratio is the median of the rounds' ratios, with the least and the
greatest of them. Processor time suffers less from other jobs than time on the wall, but cannot tell how packing scales: for that
look at `load` first. No round begins when the time is up (--minutes), except that each contestant has three.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import io
import json
import os
import platform
import random
import resource
import shutil
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from biggan_scale import __version__
from biggan_scale.data.index import Dataset
from biggan_scale.data.order import GlobalOrder, permutation
from biggan_scale.data.pack import CHUNK, PackOptions, pack
from biggan_scale.data.sources import Listing, Sample, Source

BATCH = 64
NUM_CLASSES = 10
QUALITY = 95
PARTS = ("reading", "packing", "workers")
LEAST_ROUNDS = 3
TARGETS = {
    64: {"ours / webdataset": 5.0, "ours / decoder": 0.6},
    256: {"ours / webdataset": 2.0, "ours / decoder": 0.8},
}
PACK_TARGETS = {"jpeg": {"pack jpeg / encoder jpeg": 0.8}, "png": {"pack png / encoder png": 0.8}}
WORKERS_TARGETS = {"two workers / one": 1.8}


class PixelFile(Source):
    """The first images of a .npy file, so that packing them is encoding and nothing else."""

    def __init__(self, path: Path, num: int) -> None:
        self.path = path
        self.num = num
        self._pixels: NDArray[np.uint8] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return PixelFile, (self.path, self.num)  # workers get the name, not the pixels

    def list(self) -> Listing:
        samples = [Sample(f"{i % NUM_CLASSES}/{i:07d}", i % NUM_CLASSES) for i in range(self.num)]
        return Listing(samples, tuple(map(str, range(NUM_CLASSES))))

    def read(self, name: str) -> NDArray[np.uint8]:
        if self._pixels is None:
            self._pixels = _pixels(self.path)
        return self._pixels[int(name.rpartition("/")[2])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="64,256", help="of the images, in pixels (default 64,256)")
    parser.add_argument("--images", type=int, help="how many (default: 4096 at 64 px, 1536 at 256 px)")
    parser.add_argument("--rounds", type=int, default=7, help="at most, of each measurement (default 7)")
    parser.add_argument("--minutes", type=float, default=8.0, help="shared by all measurements (default 8)")
    parser.add_argument("--parts", default=",".join(PARTS), help="what is measured (default: all, reading,packing,workers)")
    args = parser.parse_args()
    sizes, parts = [int(size) for size in args.sizes.split(",")], args.parts.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--parts {', '.join(sorted(unknown))}: allowed are {', '.join(PARTS)}")
    import torch  # here and below: the workers of a pack import this file, and need neither torch nor webdataset

    torch.set_num_threads(1)
    ends = time.monotonic() + 60 * args.minutes
    result: dict[str, Any] = {"version": __version__, "machine": _machine(), "load_before": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as directory:
        for done, size in enumerate(sizes):
            num = args.images or (4096 if size <= 64 else 1536)
            place = Path(directory) / str(size)
            place.mkdir()
            np.save(place / "pixels.npy", _photographs(num, size))
            result[f"{size} px"] = {}
            share_s = (ends - time.monotonic()) / (len(sizes) - done)
            for number, part in enumerate(parts):
                began = time.monotonic()
                rounds = Rounds(args.rounds, began + share_s / (len(parts) - number), f"{part} {size} px")
                result[f"{size} px"][part] = MEASURE[part](place, num, size, rounds)
                share_s -= time.monotonic() - began
            shutil.rmtree(place)
    result["load_after"] = os.getloadavg()[0]
    print(json.dumps(result, indent=1))
    return 0


@dataclass(frozen=True)
class Rounds:
    """How often contestants take turns: at most `most` times, and not again after `ends` (of the monotonic clock)."""

    most: int
    ends: float
    what: str

    def __iter__(self) -> Iterator[int]:
        """Numbers from 0; the first round warms caches up and is not counted."""
        for number in range(self.most + 1):
            if number > LEAST_ROUNDS and time.monotonic() > self.ends:
                return
            yield number
            print(f"{self.what}: round {number} of {self.most}", file=sys.stderr, flush=True)

    def half(self) -> Rounds:
        """For the first of two measurements: half of the time that is left."""
        return replace(self, ends=(time.monotonic() + self.ends) / 2)


def measure_reading(place: Path, num: int, size: int, rounds: Rounds) -> dict[str, Any]:
    pixels = _pixels(place / "pixels.npy")
    source = PixelFile(place / "pixels.npy", num)
    shard_samples = max(1, num // 16)
    ours = {
        name: pack(source, place / name, PackOptions(encode=name, quality=QUALITY, shard_samples=shard_samples), workers=0).dataset
        for name in ("jpeg", "raw")
    }
    tars = [str(ours["jpeg"].shard_path(shard)) for shard in range(len(ours["jpeg"].shards))]
    files, encoded = _write_files(place / "files", tars)
    _write_zip(place / "stylegan.zip", pixels)
    contestants: dict[str, Callable[[], int]] = {
        "ours": lambda: _ours(ours["jpeg"]),
        "ours, raw": lambda: _ours(ours["raw"]),
        "webdataset": lambda: _webdataset(tars),
        "stylegan zip": lambda: _zip(place / "stylegan.zip"),
        "files": lambda: _files(files),
        "decoder": lambda: _decoder(encoded, size),
    }
    speeds = _take_turns(contestants, rounds)
    pairs = [("ours", other) for other in ("webdataset", "decoder", "stylegan zip", "files")] + [("ours, raw", "webdataset")]
    mean_bytes = sum(map(len, encoded)) / len(encoded)
    return {"images": num, "jpeg_bytes": round(mean_bytes), **_summary(speeds, pairs, TARGETS.get(size, {}))}


def measure_packing(place: Path, num: int, size: int, rounds: Rounds) -> dict[str, Any]:
    num_png = num if size <= 64 else max(1, num // 16)  # 30 ms each at 256 px
    return {"jpeg": _packing("jpeg", place, num, rounds.half()), "png": _packing("png", place, num_png, rounds)}


def _packing(encode: str, place: Path, num: int, rounds: Rounds) -> dict[str, Any]:
    source = PixelFile(place / "pixels.npy", num)
    pixels = _pixels(place / "pixels.npy")
    order = permutation(num, PackOptions().seed)  # as they are packed: images far from each other in memory cost 1 to 2 us more
    in_order = [pixels[i] for i in order.tolist()]
    contestants: dict[str, Callable[[], int]] = {
        f"pack {encode}": lambda: _pack(source, encode, 0).num,
        f"encoder {encode}": lambda: _encoder(in_order, encode),
    }
    speeds = _take_turns(contestants, rounds)
    shutil.rmtree(place / "packed")
    return {"images": num, **_summary(speeds, [(f"pack {encode}", f"encoder {encode}")], PACK_TARGETS[encode])}


def measure_workers(place: Path, num: int, size: int, rounds: Rounds) -> dict[str, Any]:
    """Into PNG. Where the cores are not free, processor time tells what two workers could do: the parent's part is not divided."""
    source = PixelFile(place / "pixels.npy", num if size <= 64 else max(1, num // 4))
    runs: dict[int, list[_Packing]] = {0: [], 1: [], 2: []}
    for number in rounds:
        for workers, of_workers in runs.items():
            run = _pack(source, "png", workers)
            if number:
                of_workers.append(run)
    shutil.rmtree(place / "packed")
    parent = statistics.median(run.parent_s / run.num for run in runs[2])
    converting = statistics.median(run.parent_s / run.num for run in runs[0]) - parent
    speeds = {name: [run.img_per_s for run in runs[workers]] for name, workers in (("two workers", 2), ("one", 1))}
    return {
        "images": source.num,
        "parent_us_per_img": round(parent * 1e6, 1),
        "worker_us_per_img": round(converting * 1e6, 1),
        "two / one if two cores were free": round(2 * converting / (converting + parent), 3),
        **_summary(speeds, [("two workers", "one")], WORKERS_TARGETS, unit="img_per_s"),
    }


MEASURE = {"reading": measure_reading, "packing": measure_packing, "workers": measure_workers}


class _Packing(NamedTuple):
    num: int
    img_per_s: float  # from about an eighth of the images on, when all workers have begun
    parent_s: float  # processor time of the process that writes


def _pack(source: PixelFile, encode: str, workers: int) -> _Packing:
    """Packs all pixels into a new directory; what is left is removed after the measurement."""
    packed = source.path.parent / "packed"
    packed.mkdir(exist_ok=True)
    out = Path(tempfile.mkdtemp(dir=packed))
    seen: list[tuple[float, int]] = []
    before = time.process_time()
    options = PackOptions(encode=encode, quality=QUALITY)
    pack(source, out, options, workers, lambda done, total: seen.append((time.perf_counter(), done)))
    warm_up = 2 * CHUNK * max(1, len(seen) // (16 * CHUNK))  # chunks come whole; two workers have then done as many each
    (began, first), (ended, last) = seen[min(warm_up, len(seen) - 1) - 1], seen[-1]
    return _Packing(last, (last - first) / (ended - began), time.process_time() - before)


# The contestants. Each reads every image once and returns how many these were.


def _ours(dataset: Dataset) -> int:
    from biggan_scale.data.loader import Loader

    loader = Loader(dataset, GlobalOrder(dataset.shard_sizes), workers=0, flip=True, seed=0)
    stops = range(0, dataset.num_samples - BATCH + 1, BATCH)
    return sum(len(batch.images) for batch in loader.ranges((start, start + BATCH) for start in stops))


def _webdataset(tars: list[str]) -> int:
    import torch
    import webdataset

    rng = random.Random(0)

    def mirrored(image: Image.Image) -> NDArray[np.uint8]:
        pixels = np.asarray(image)
        return pixels[:, ::-1] if rng.random() < 0.5 else pixels

    shards = webdataset.WebDataset(tars, shardshuffle=len(tars), empty_check=False)
    pipeline = shards.shuffle(1000).decode("pil").to_tuple("jpg", "cls").map_tuple(mirrored, int).batched(BATCH)
    return sum(len(torch.from_numpy(images).permute(0, 3, 1, 2)) for images, _ in pipeline)


def _zip(path: Path) -> int:
    with zipfile.ZipFile(path) as archive:
        labels = json.loads(archive.read("dataset.json"))["labels"]
        random.Random(0).shuffle(labels)

        def read() -> Iterator[tuple[NDArray[np.uint8], int]]:
            for name, label in labels:
                with archive.open(name) as file, Image.open(file) as image:
                    yield np.asarray(image), label

        return _collate(read())


def _files(files: list[Path]) -> int:
    shuffled = random.Random(0).sample(files, len(files))

    def read() -> Iterator[tuple[NDArray[np.uint8], int]]:
        for path in shuffled:
            with Image.open(path) as image:
                yield np.asarray(image.convert("RGB")), int(path.parent.name)

    return _collate(read())


def _decoder(encoded: list[bytes], size: int) -> int:
    from biggan_scale.data.workers import empty_pixels

    out = empty_pixels((size, size, 3))  # which is best for it, too
    for data in encoded:
        simplejpeg.decode_jpeg(data, "RGB", buffer=out)
    return len(encoded)


def _encoder(pixels: Sequence[NDArray[np.uint8]], encode: str) -> int:
    for image in pixels:
        buffer = io.BytesIO()
        if encode == "jpeg":
            Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY, subsampling=0)
        else:
            Image.fromarray(image).save(buffer, "PNG")
        buffer.getvalue()
    return len(pixels)


def _collate(samples: Iterable[tuple[NDArray[np.uint8], int]]) -> int:
    """Half of the images mirrored, in batches of (B, C, H, W)."""
    import torch

    rng = random.Random(0)
    images, labels, num = [], [], 0
    for image, label in samples:
        images.append(image[:, ::-1] if rng.random() < 0.5 else image)
        labels.append(label)
        if len(images) == BATCH:
            num += len(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)) * (torch.tensor(labels).numel() > 0)
            images, labels = [], []
    return num + len(images)


def _take_turns(contestants: dict[str, Callable[[], int]], rounds: Rounds) -> dict[str, list[float]]:
    """Each one's images per second of processor time, round by round."""
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in rounds:
        for name, run in contestants.items():
            gc.collect()
            gc.freeze()  # no one pays for walking over torch and what others have left
            before = _cpu_s()
            num = run()
            if number:
                speeds[name].append(num / (_cpu_s() - before))
    return speeds


def _summary(
    speeds: dict[str, list[float]], pairs: list[tuple[str, str]], targets: dict[str, float], unit: str = "img_per_cpu_s"
) -> dict[str, Any]:
    """Medians of the speeds, and for each pair [median, least, greatest] of what the first is to the second in each round."""
    ratios = {f"{a} / {b}": sorted(x / y for x, y in zip(speeds[a], speeds[b], strict=True)) for a, b in pairs}
    return {
        "rounds": len(next(iter(speeds.values()))),
        unit: {name: round(statistics.median(values), 1) for name, values in speeds.items()},
        "ratios": {name: [round(x, 3) for x in (statistics.median(values), values[0], values[-1])] for name, values in ratios.items()},
        "targets": targets,
        "met": {name: statistics.median(ratios[name]) >= target for name, target in targets.items()},
    }


def _pixels(path: Path) -> NDArray[np.uint8]:
    """(N, H, W, C) of a file, read as they are needed; a plain array, whose slices cost a tenth of a memmap's."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _photographs(num: int, size: int) -> NDArray[np.uint8]:
    """(num, size, size, 3) random pictures with the spectrum of photographs: amplitude falls with frequency, colours go together."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]) * 256
    amplitude = 1 / np.maximum(frequency, 1) ** 1.75  # so that JPEGs have the size of those of photographs
    mix = np.array([[1.0, 0.25, 0.1], [1.0, 0.0, -0.1], [1.0, -0.25, 0.15]])  # from brightness and two colour axes
    pictures = np.empty((num, size, size, 3), np.uint8)
    for picture in pictures:
        spectra = (rng.normal(size=(3, *amplitude.shape)) + 1j * rng.normal(size=(3, *amplitude.shape))) * amplitude
        planes = np.fft.irfft2(spectra, s=(size, size))
        planes /= planes[0].std()
        picture[...] = np.clip(128 + 50 * np.einsum("ck,khw->hwc", mix, planes), 0, 255)
    return pictures


def _write_files(folder: Path, tars: list[str]) -> tuple[list[Path], list[bytes]]:
    import webdataset

    files, encoded = [], []
    for sample in webdataset.WebDataset(tars, shardshuffle=False):
        path = folder / f"{sample['__key__']}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sample["jpg"])
        files.append(path)
        encoded.append(sample["jpg"])
    return files, encoded


def _write_zip(path: Path, pixels: NDArray[np.uint8]) -> None:
    labels: list[tuple[str, int]] = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number, image in enumerate(pixels):
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "PNG", compress_level=0)
            labels.append((f"{number // 1000:05d}/img{number:08d}.png", number % NUM_CLASSES))
            archive.writestr(labels[-1][0], buffer.getvalue())
        archive.writestr("dataset.json", json.dumps({"labels": labels}))


def _cpu_s() -> float:
    """Processor time of this process and of its children that have ended."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def _machine() -> dict[str, Any]:
    versions = {name: importlib.metadata.version(name) for name in ("torch", "pillow", "numpy", "simplejpeg", "webdataset")}
    return {"cpus": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version(), **versions}


if __name__ == "__main__":  # not in the workers of a pack, which import this file again
    sys.exit(main())
