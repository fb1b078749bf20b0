"""Tars that others have written for webdataset: named by a folder, a glob, or a list in braces (`train-{0000..0127}.tar`).

A sample is one image (png, jpg, webp, npy, ...) and, where there are classes, a .cls with a whole number; the names of the
classes come from `classes.json` beside the tars, if it is there. Other members (.json, .txt, .pyd, .pth, ...) are left out,
and neither read nor executed. Keys that come again in other tars get their tar's name in front.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biggan_scale.config.errors import DataError
from biggan_scale.data.index import NO_LABEL
from biggan_scale.data.sources.base import IMAGE_SUFFIXES, Listing, Sample, Source, refuse_huge
from biggan_scale.data.tar import label_of, members, split_name

CLASSES_FILE = "classes.json"


class WebdatasetSource(Source):
    """
    Args:
        path: for messages.
        tars: in order.
    """

    def __init__(self, path: Path, tars: Sequence[Path]) -> None:
        self.path = path
        self.tars = list(tars)
        self._places: dict[str, tuple[int, int, int]] = {}  # name: number of the tar, offset and size of the image

    def list(self) -> Listing:
        found = []  # key, extension, number of the tar, offset, size, label
        num_ignored = 0
        for number, tar in enumerate(self.tars):
            keys: set[str] = set()
            groups: dict[str, dict[str, tuple[int, int]]] = {}
            for name, offset, size in members(tar):
                key, extension = split_name(name)
                if extension in groups.setdefault(key, {}):
                    raise DataError(f"{tar}: member {name!r} comes twice; rename one of them")
                groups[key][extension] = (offset, size)
            for key, group in groups.items():
                images = [e for e in group if f".{e.rpartition('.')[2]}" in IMAGE_SUFFIXES or e == "npy"]
                num_ignored += len(group) - len(images) - ("cls" in group)
                if not images:
                    continue
                if len(images) > 1:
                    raise DataError(f"{tar}: sample {key!r} has {len(images)} images ({', '.join(images)}); one is needed")
                keys.add(key)
                label = label_of(tar, key, _read(tar, *group["cls"])) if "cls" in group else NO_LABEL
                found.append((key, images[0], number, *group[images[0]], label))
        return self._checked(found, num_ignored)

    def prepare(self, names: Sequence[str], scratch: Path) -> None:
        self._places = {name: self._places[name] for name in names}  # each worker gets a copy: of no more than is needed

    def read(self, name: str) -> bytes | NDArray[np.uint8]:
        number, offset, size = self._places[name]
        refuse_huge(size)
        data = _read(self.tars[number], offset, size)
        return _pixels(data) if name.endswith(".npy") else data

    def _checked(self, found: Sequence[tuple[str, str, int, int, int, int]], num_ignored: int) -> Listing:
        if not found:
            raise DataError(f"{self.path}: no images in {len(self.tars)} tars")
        unlabelled = sum(label == NO_LABEL for *_, label in found)
        if 0 < unlabelled < len(found):
            key = next(key for key, *_, label in found if label == NO_LABEL)
            raise DataError(f"{self.path}: {unlabelled} samples have no .cls, {key!r} among them, and others have; all must, or none")
        clash = len({key for key, *_ in found}) < len(found)
        samples = []
        for key, extension, number, offset, size, label in found:
            name = f"{self.tars[number].stem}/{key}.{extension}" if clash else f"{key}.{extension}"
            if name in self._places and self._places[name] != (number, offset, size):
                raise DataError(f"{self.path}: key {key!r} comes twice in tars of the name {self.tars[number].name}; rename one of them")
            self._places[name] = (number, offset, size)
            samples.append(Sample(name, label))
        return Listing(samples, self._classes(max(label for *_, label in found)), num_ignored)

    def _classes(self, highest: int) -> tuple[str, ...]:
        file = self.tars[0].with_name(CLASSES_FILE)
        if highest == NO_LABEL or not file.exists():
            return tuple(str(label) for label in range(highest + 1))
        try:
            names = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise DataError(f"{file}: {error}") from error
        if not isinstance(names, list) or len(names) <= highest:
            raise DataError(f"{file}: must be a list of at least {highest + 1} names, for the labels 0 to {highest}")
        return tuple(map(str, names))


def _read(tar: Path, offset: int, size: int) -> bytes:
    descriptor = os.open(tar, os.O_RDONLY)
    try:
        data = os.pread(descriptor, size, offset)
    finally:
        os.close(descriptor)
    if len(data) != size:
        raise ValueError(f"only {len(data)} of {size} bytes are there")
    return data


def _pixels(data: bytes) -> NDArray[np.uint8]:
    """(H, W) or (H, W, C) of a .npy file, as (H, W, C)."""
    try:
        pixels = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # numpy raises ValueError, EOFError, SyntaxError, ... on damaged headers
        raise ValueError(f"not a .npy array: {error}") from error
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise ValueError("not a .npy array of uint8 (H, W) or (H, W, C)")
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def expand_braces(pattern: str) -> list[str]:
    """`a-{00..02}.tar` to its three names, `{x,y}.tar` to its two; several braces to every combination."""
    before, brace, rest = pattern.partition("{")
    if not brace:
        return [pattern]
    inside, close, after = rest.partition("}")
    if not close:
        raise DataError(f"{pattern!r}: a brace is not closed")
    first, dots, last = inside.partition("..")
    if dots:
        if not (first.isdigit() and last.isdigit()):
            raise DataError(f"{pattern!r}: {{{inside}}} is not a range of numbers such as {{000..127}}")
        parts = [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
    else:
        parts = inside.split(",")
    return [before + part + tail for part in parts for tail in expand_braces(after)]
