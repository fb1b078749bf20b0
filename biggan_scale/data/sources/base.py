"""What every source of images has in common: it lists its samples (name and label) and reads one of them by its name.

The rules for labels that folders and zips share are here too: `dataset.json` where there is one (StyleGAN's convention:
{"labels": [[name, label], ...]} or {"labels": null}, with the names of the classes in `classes.json`, a list, if at all), else
class folders, else none.
"""

from __future__ import annotations

import abc
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from biggan_scale.config.errors import DataError
from biggan_scale.data.index import MAX_FILE_BYTES, NO_LABEL
from biggan_scale.data.tar import is_unsafe

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm"}


class Sample(NamedTuple):
    name: str  # with "/" between folders
    label: int


@dataclass(frozen=True)
class Listing:
    """What a source holds, in an order that is always the same."""

    samples: list[Sample]
    classes: tuple[str, ...]
    num_ignored: int = 0  # files that are not images

    def without_labels(self) -> Listing:
        return Listing([Sample(sample.name, NO_LABEL) for sample in self.samples], (), self.num_ignored)


class Source(abc.ABC):
    """Picklable: each worker of a pack reads through its own copy."""

    path: Path

    @abc.abstractmethod
    def list(self) -> Listing:
        """Raises: DataError where the source as a whole makes no sense."""

    def prepare(self, names: Sequence[str], scratch: Path) -> None:  # noqa: B027 - most sources have nothing to prepare
        """Called once, before the workers start, with the samples that will be read; they will be read in a random order.

        `scratch` is a directory of its own on the disk that is packed to, removed when the pack ends.
        """

    @abc.abstractmethod
    def read(self, name: str) -> bytes | NDArray[np.uint8]:
        """An encoded image, or pixels (H, W, C). Raises: OSError, ValueError where this sample cannot be read."""


def label_files(path: Path, names: Iterable[str], read: Callable[[str], bytes]) -> Listing:
    """Picks the images among the files of a folder or zip, and finds their labels."""
    names = sorted(name for name in names if not _is_hidden(PurePosixPath(name)))
    images = [name for name in names if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise DataError(f"{path}: no images in it (looked for {' '.join(sorted(IMAGE_SUFFIXES))})")
    for name in images:
        if is_unsafe(name):
            raise DataError(f"{path}: unsafe name {name!r}; names must be relative and stay inside")
    num_ignored = len(names) - len(images) - sum(name in names for name in ("dataset.json", "classes.json"))
    if "dataset.json" in names:
        labels, classes = _labels_from_json(path, images, read, has_names="classes.json" in names)
    else:
        labels, classes = labels_from_folders(path, images)
    return Listing([Sample(name, label) for name, label in zip(images, labels, strict=True)], classes, num_ignored)


def labels_from_folders(path: Path, images: list[str]) -> tuple[list[int], tuple[str, ...]]:
    """The label of each name by its first folder, and the names of the classes."""
    folders = [PurePosixPath(name).parts[0] if "/" in name else None for name in images]
    if None not in folders:
        classes = tuple(sorted({folder for folder in folders if folder is not None}))
        numbers = {name: number for number, name in enumerate(classes)}
        return [numbers[folder] for folder in folders if folder is not None], classes
    if any(folders):
        inside, outside = images[next(i for i, f in enumerate(folders) if f)], images[folders.index(None)]
        raise DataError(f"{path}: {inside!r} is in a class folder and {outside!r} is not; put all images into class folders, or none")
    return [NO_LABEL] * len(images), ()


def refuse_huge(num_bytes: int) -> None:
    if num_bytes > MAX_FILE_BYTES:
        raise ValueError(f"{num_bytes} bytes; an image file may have {MAX_FILE_BYTES}")


def _is_hidden(name: PurePosixPath) -> bool:
    return any(part == "__MACOSX" or (part.startswith(".") and part != "..") for part in name.parts)


def _labels_from_json(path: Path, images: list[str], read: Callable[[str], bytes], has_names: bool) -> tuple[list[int], tuple[str, ...]]:
    where = f"{path}: dataset.json"
    pairs = _read_json(path, "dataset.json", read)
    pairs = pairs.get("labels") if isinstance(pairs, dict) else pairs
    if pairs is None:
        return [NO_LABEL] * len(images), ()
    try:
        label_of = {name: label for name, label in pairs}
    except (TypeError, ValueError):
        raise DataError(f"{where}: 'labels' must be null or a list of [name, label]") from None
    labels = []
    for name in images:
        label = label_of.get(name)
        if type(label) is not int or label < 0:
            given = f"label {label!r}" if name in label_of else "no label"
            raise DataError(f"{where}: {given} for {name!r}; allowed are whole numbers from 0")
        labels.append(label)
    if not has_names:
        return labels, tuple(str(label) for label in range(max(labels) + 1))
    classes = _read_json(path, "classes.json", read)
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise DataError(f"{path}: classes.json: must be a list of names")
    if max(labels) >= len(classes):
        name = images[labels.index(max(labels))]
        raise DataError(f"{where}: label {max(labels)} for {name!r}; allowed are 0 to {len(classes) - 1}, the classes of classes.json")
    return labels, tuple(classes)


def _read_json(path: Path, name: str, read: Callable[[str], bytes]) -> Any:
    try:
        return json.loads(read(name))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {name}: {error}") from error
