"""A directory of image files, with one subdirectory per class or none at all."""

from __future__ import annotations

import os
from pathlib import Path

from biggan_scale.data.sources.base import Listing, Source, label_files, refuse_huge


class FolderSource(Source):
    def __init__(self, path: Path) -> None:
        self.path = path

    def list(self) -> Listing:
        names = []
        for directory, subdirectories, files in os.walk(self.path):
            subdirectories[:] = sorted(name for name in subdirectories if not name.startswith("."))
            names += [(Path(directory) / file).relative_to(self.path).as_posix() for file in files]
        return label_files(self.path, names, lambda name: (self.path / name).read_bytes())

    def read(self, name: str) -> bytes:
        path = self.path / name
        refuse_huge(path.stat().st_size)
        return path.read_bytes()
