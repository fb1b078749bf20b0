"""An idx3-ubyte file of grey images, plain or .gz, with its idx1-ubyte labels beside it (MNIST, Fashion-MNIST, EMNIST, ...)."""

from __future__ import annotations

import gzip
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biggan_scale.config.errors import DataError
from biggan_scale.data.index import NO_LABEL
from biggan_scale.data.sources.base import Listing, Sample, Source


class IdxSource(Source):
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return IdxSource, (self.path,)

    @cached_property
    def _images(self) -> NDArray[np.uint8]:
        return _read_idx(self.path, num_dimensions=3)

    def list(self) -> Listing:
        num = len(self._images)
        labels = np.full(num, NO_LABEL)
        classes: tuple[str, ...] = ()
        labels_path = self.path.with_name(self.path.name.replace("images-idx3", "labels-idx1"))
        if labels_path != self.path and labels_path.exists():
            labels = _read_idx(labels_path, num_dimensions=1).astype(np.int64)
            if len(labels) != num:
                raise DataError(f"{labels_path}: {len(labels)} labels for the {num} images of {self.path.name}")
            classes = tuple(str(label) for label in range(int(labels.max(initial=-1)) + 1))
        return Listing([Sample(f"{index:08d}", int(label)) for index, label in enumerate(labels)], classes)

    def read(self, name: str) -> NDArray[np.uint8]:
        return self._images[int(name), :, :, None]


def _read_idx(path: Path, num_dimensions: int) -> NDArray[np.uint8]:
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            magic = file.read(4)
            if magic != bytes([0, 0, 8, num_dimensions]):
                raise DataError(f"{path}: not an idx{num_dimensions}-ubyte file (it begins with {magic!r})")
            shape = tuple(int.from_bytes(file.read(4), "big") for _ in range(num_dimensions))
            size = int(np.prod(shape, dtype=object))
            data = file.read(size + 1)  # no more than announced, whatever the compressed stream expands to
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if len(data) != size:
        raise DataError(f"{path}: {'more' if len(data) > size else 'fewer'} bytes than its header announces ({size} for shape {shape})")
    return np.frombuffer(data, np.uint8).reshape(shape)
