"""A zip of image files; nothing is ever extracted to disk."""

from __future__ import annotations

import zipfile
from functools import cached_property
from pathlib import Path
from typing import Any

from biggan_scale.config.errors import DataError
from biggan_scale.data.sources.base import Listing, Source, label_files, refuse_huge


class ZipSource(Source):
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return ZipSource, (self.path,)

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(self.path)

    def list(self) -> Listing:
        try:
            names = [info.filename for info in self._archive.infolist() if not info.is_dir()]
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(f"{self.path}: not a zip that can be read: {error}") from error
        if repeated := _first_repeated(names):
            raise DataError(f"{self.path}: {repeated!r} is in it twice; names must be unique")
        return label_files(self.path, names, self.read)

    def read(self, name: str) -> bytes:
        info = self._archive.getinfo(name)
        refuse_huge(info.file_size)
        try:
            with self._archive.open(info) as file:
                return file.read(info.file_size)  # no more than announced, whatever the compressed stream expands to
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:  # damaged, encrypted, unknown compression
            raise ValueError(f"cannot be read from the zip: {error}") from error


def _first_repeated(names: list[str]) -> str | None:
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]
