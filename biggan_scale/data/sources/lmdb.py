"""An LMDB whose values are image files: those of LSUN, and those of StyleGAN trainers (keys `RESOLUTION-NUMBER` and `length`).

Of several resolutions of the same images the largest is taken. There are no labels but those of folders in the keys.
Needs the package lmdb. A value is never unpickled; LMDBs of pickled samples are refused.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any

from biggan_scale.config.errors import DataError, EnvironmentFault
from biggan_scale.data.decode import image_format
from biggan_scale.data.sources.base import Listing, Sample, Source, labels_from_folders, refuse_huge
from biggan_scale.data.tar import is_unsafe

MAGIC = bytes.fromhex("dec0efbe")  # of LMDB's first page, at byte 16
_NOT_IMAGES = {b"length", b"__len__", b"__keys__"}


class LmdbSource(Source):
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return LmdbSource, (self.path,)

    def list(self) -> Listing:
        with self._environment.begin() as transaction, transaction.cursor() as cursor:
            keys = [bytes(key) for key in cursor.iternext(keys=True, values=False)]
        images = _largest_resolution([key for key in keys if key not in _NOT_IMAGES])
        if not images:
            raise DataError(f"{self.path}: no images in this LMDB ({len(keys)} keys)")
        first = self.read(name_of(images[0]))
        if image_format(first) not in ("png", "jpeg", "webp"):
            raise DataError(
                f"{self.path}: key {images[0]!r} holds no image file but {first[:8]!r}...; values must be PNG, JPEG or WebP files"
            )
        names = [name_of(key) for key in images]
        for name in names:
            if is_unsafe(name):
                raise DataError(f"{self.path}: unsafe key {name!r}; keys must be relative and stay inside")
        labels, classes = labels_from_folders(self.path, names)
        samples = [Sample(name, label) for name, label in zip(names, labels, strict=True)]
        return Listing(samples, classes, num_ignored=len(set(keys) - _NOT_IMAGES) - len(images))

    def read(self, name: str) -> bytes:
        key = bytes.fromhex(name.removeprefix("hex-")) if name.startswith("hex-") else name.encode()
        with self._environment.begin(buffers=True) as transaction:
            value = transaction.get(key)
            if value is None:
                raise ValueError("is no longer in the LMDB")
            refuse_huge(len(value))
            return bytes(value)

    @cached_property
    def _environment(self) -> Any:
        try:
            import lmdb
        except ImportError:
            raise EnvironmentFault(f"{self.path}: reading LMDB needs the package lmdb; pip install 'biggan_scale[lmdb]'") from None
        try:
            return lmdb.open(str(self.path), subdir=self.path.is_dir(), readonly=True, lock=False, readahead=False, create=False)
        except lmdb.Error as error:
            raise DataError(f"{self.path}: not an LMDB that can be read: {error}") from error


def name_of(key: bytes) -> str:
    """A key as text; one that is not UTF-8 as hex-..., so that it can be found again."""
    try:
        name = key.decode()
    except UnicodeDecodeError:
        return f"hex-{key.hex()}"
    return name if not name.startswith("hex-") else f"hex-{key.hex()}"


def _largest_resolution(keys: list[bytes]) -> list[bytes]:
    resolutions = [re.fullmatch(rb"(\d+)-\d+", key) for key in keys]
    if not all(resolutions):
        return keys
    largest = max((int(match[1]) for match in resolutions if match), default=0)
    return [key for key, match in zip(keys, resolutions, strict=True) if match and int(match[1]) == largest]
