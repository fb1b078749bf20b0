"""`biggan-scale sample`: images to a folder of PNGs, one sheet, or an array, by one process or many.

Every rank draws every world-th chunk, so the images are those of a single process (see `load.py`). Into a folder each rank writes
its own; sheets and arrays are put together by rank 0. Nothing is there under its name before everything has been drawn: a signal
ends it within a chunk and leaves what was there before.

    DIR        000000.png, 000001.png, ..., and labels.json {"000000.png": 3, ...} where there are classes
    FILE.png   a sheet, nearly square; a row per class where classes are given
    FILE.npz   arr_0: (N, H, W, C) uint8, as ADM's evaluation reads it; arr_1: (N,) int64 labels where there are classes
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from biggan_scale.config import ConfigError
from biggan_scale.data.pixels import save_png, tile, tile_in_turn, to_uint8
from biggan_scale.dist import process_group
from biggan_scale.engine.signals import StopFlag
from biggan_scale.export.load import Model
from biggan_scale.export.publish import new_file, probe, unfinished_folder, unwritable
from biggan_scale.export.source import Weights, find

LABELS_FILE = "labels.json"


def sample_to(
    source: str | Path,
    out: str | Path,
    *,
    num: int,
    seed: int = 0,
    truncation: float | None = None,
    classes: Sequence[int] | None = None,
    weights: Weights = "ema",
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> None:
    """Draw images from the model at `source` into `out`, together with the other ranks, if the environment says there are any.

    Args:
        source: a run, a checkpoint or an export.
        out: FILE.png, FILE.npz, or else a folder.
        num, seed, truncation, classes: as of `Model.sample`.
        weights: averaged or as trained.
        progress: called on rank 0 with the number of images drawn and their total.

    Raises:
        CheckpointError: no model is there. ConfigError: an argument makes no sense.
        EnvironmentFault: `out` cannot be written. Preempted: a signal came.
    """
    with StopFlag() as stop, ExitStack() as stack:
        ranks = process_group.start()
        stack.callback(process_group.stop)
        process_group.on_main(lambda: _refuse_other_files(Path(out)))
        model = Model(process_group.on_main(lambda: find(source, weights)), ranks.device, stop.check)
        process_group.on_main(lambda: model.check_request(num, truncation, classes))
        job = Job(model, num, seed, truncation, classes, progress, stop)
        write = FILES.get(Path(out).suffix.lower())
        if write is None:
            _to_folder(job, Path(out))
        else:
            _to_file(job, Path(out), write)


@dataclass(frozen=True)
class Job:
    """What to draw, and this rank's part in it."""

    model: Model
    num: int
    seed: int
    truncation: float | None
    classes: Sequence[int] | None
    progress: Callable[[int, int], object]
    stop: StopFlag

    def draw(self, take: Callable[[int, Tensor], object]) -> Tensor | None:
        """Draw this rank's chunks.

        Args:
            take: gets the number of each chunk's first sample, and its pixels, (chunk, C, H, W) uint8 on the CPU. The last chunks may
                reach beyond `num`: all ranks draw the same number of them.

        Returns:
            On rank 0 the labels of all samples, where there are any.

        Raises: Preempted on all ranks.
        """
        size, world = self.model.chunk_size, process_group.world()
        labels: list[Tensor] = []
        for step in range(math.ceil(self.num / (size * world))):
            self.stop.check()
            index = step * world + process_group.rank()
            images, of_chunk = self.model.chunk(index, self.seed, self.truncation, self.classes)
            take(index * size, to_uint8(images))
            if of_chunk is not None:
                labels.append(of_chunk.cpu())
            if process_group.rank() == 0:
                self.progress(min((step + 1) * world * size, self.num), self.num)
        return self.together(labels) if labels else None

    def together(self, chunks: list[Tensor]) -> Tensor | None:
        """On rank 0, all ranks' chunks as one tensor of `num` samples in their order."""
        parts = process_group.gather_on_main(torch.stack(chunks))  # of each rank (steps, chunk, ...)
        return torch.stack(parts, dim=1).flatten(0, 2)[: self.num] if parts else None

    def draw_together(self) -> tuple[Tensor | None, Tensor | None]:
        """On rank 0, all pixels and labels."""
        chunks: list[Tensor] = []
        labels = self.draw(lambda first, pixels: chunks.append(pixels))
        return self.together(chunks), labels


def _to_folder(job: Job, out: Path) -> None:
    names = [f"{i:06}.png" for i in range(job.num)]
    process_group.on_main(lambda: _refuse_others(out, set(names)))
    with ExitStack() as stack:
        folder = process_group.on_main(lambda: stack.enter_context(unfinished_folder(out)))

        def take(first: int, pixels: Tensor) -> None:
            for name, picture in zip(names[first:], pixels, strict=False):
                save_png(picture, folder / name)

        try:
            labels = job.draw(take)
        except OSError as error:
            raise unwritable(out, error) from error
        process_group.sum_over_ranks(0)  # all have written
        process_group.on_main(lambda: _publish(out, folder, names, labels))


def _refuse_other_files(out: Path) -> None:
    """A name that stands for a file everywhere else is not meant to be a folder."""
    suffix = out.suffix.lower()
    if suffix in OTHER_FILES and not out.is_dir():
        raise ConfigError(f"--out {out}: '{suffix}' is not written; FILE{', FILE'.join(FILES)}, or a folder")


def _refuse_others(out: Path, names: set[str]) -> None:
    """No image of an earlier, larger set shall be taken for one of ours."""
    others = sorted(path.name for path in out.glob("*.png") if path.name not in names)
    if others:
        raise ConfigError(f"{out} holds other images ({others[0]}, {len(others)} in all); empty it, or choose another --out")


def _publish(out: Path, folder: Path, names: Sequence[str], labels: Tensor | None) -> None:
    """Moves the images to their place; the labels come last, and by them it is complete."""
    try:
        out.mkdir(exist_ok=True)
        (out / LABELS_FILE).unlink(missing_ok=True)
        for name in names:
            os.replace(folder / name, out / name)
        if labels is not None:
            (folder / LABELS_FILE).write_text(json.dumps(dict(zip(names, labels.tolist(), strict=True)), indent=0) + "\n")
            os.replace(folder / LABELS_FILE, out / LABELS_FILE)
    except OSError as error:
        raise unwritable(out, error) from error


def _to_file(job: Job, out: Path, write: Callable[[Job, Path, Tensor, Tensor | None], None]) -> None:
    process_group.on_main(lambda: probe(out))
    pixels, labels = job.draw_together()
    if pixels is not None:
        with new_file(out) as temporary:
            write(job, temporary, pixels, labels)


def _sheet(job: Job, file: Path, pixels: Tensor, labels: Tensor | None) -> None:
    rows = min(len(job.classes), job.num) if job.classes else None
    save_png(tile_in_turn(pixels, rows) if rows else tile(pixels, math.ceil(math.sqrt(job.num))), file)


def _array(job: Job, file: Path, pixels: Tensor, labels: Tensor | None) -> None:
    arrays = {"arr_0": pixels.permute(0, 2, 3, 1).contiguous().numpy()}
    if labels is not None:
        arrays["arr_1"] = labels.numpy()
    np.savez(file, **arrays)  # type: ignore[arg-type]  # its stubs think of allow_pickle


FILES = {".png": _sheet, ".npz": _array}
OTHER_FILES = (".bmp", ".gif", ".jpeg", ".jpg", ".npy", ".pt", ".pth", ".safetensors", ".tar", ".tif", ".tiff", ".webp", ".zip")
