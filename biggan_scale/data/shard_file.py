"""One open shard, to read samples from: a local tar here; cached and remote ones in remote.py have the same three methods."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from biggan_scale.config.errors import DataError


class ShardFile(Protocol):
    def read(self, offset: int, size: int) -> bytes:
        """Fewer than `size` bytes only where the shard ends. Raises: DataError."""

    def mend(self) -> bool:
        """Called when a sample's checksum is wrong. Is it worth reading again?"""

    def close(self) -> None: ...


class LocalShard:
    """A tar on disk. Raises: DataError where it is missing, or not as long as it was when packed."""

    def __init__(self, path: Path, num_bytes: int) -> None:
        self.path = path
        self.descriptor = -1
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            have = os.fstat(self.descriptor).st_size
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from error
        if have != num_bytes:
            self.close()
            raise DataError(f"{path}: {have} of {num_bytes} bytes; copy again from where it was packed, or pack again")

    def read(self, offset: int, size: int) -> bytes:
        try:
            return os.pread(self.descriptor, size, offset)
        except OSError as error:
            raise DataError(f"{self.path}: bytes {offset} to {offset + size}: {error.strerror}") from error

    def mend(self) -> bool:
        return False

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    __del__ = close
