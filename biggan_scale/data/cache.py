"""Files that were once remote: checked, appearing whole or not at all, fetched once by all processes of a node, bounded in bytes.

A download goes into `NAME.part`, whose lock its downloader holds: others wait for it, and find the finished file. The part
of a process that was killed is continued. When size and sha256 are right the part is renamed to NAME. Locks are the kernel's, on
open files, so that no death leaves one behind. A file in use is locked by its users (shared), and is never removed to make room;
of the others the one used longest ago goes first.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from biggan_scale.config.errors import EnvironmentFault

KEPT = (".tar", ".npy")  # what counts, and what may go
PART = ".part"
POLL_S = 0.05  # between looks at another process's download


@dataclass(frozen=True)
class Cache:
    """A directory with one directory for each data set.

    Args:
        directory: of the cache.
        limit_bytes: how much it may hold, or None. Downloads in progress come on top, and so does what is in use.
    """

    directory: Path
    limit_bytes: int | None = None

    def open(self, name: str, num_bytes: int | None, download: Callable[[Part], None], wait: bool = True) -> int | None:
        """A descriptor of the file, which stays locked against removal until it is closed.

        Args:
            name: relative to the cache.
            num_bytes: how long it must be, if that is known.
            download: completes and checks the part of the file that is there (nothing, usually), or raises.
            wait: for another process that is downloading it; otherwise the answer is None.

        Raises: EnvironmentFault; whatever `download` raises.
        """
        path = self.directory / name
        try:
            if (descriptor := self._open_finished(path, num_bytes)) is not None:
                return descriptor
            path.parent.mkdir(parents=True, exist_ok=True)
            with _sole_part(path, wait) as part:
                if part is None:
                    return None
                if (descriptor := self._open_finished(path, num_bytes)) is not None:  # it came while we waited
                    return descriptor
                self._make_room(num_bytes or 0)
                download(Part(part))
                os.fsync(part)
                os.replace(_part_of(path), path)
                fcntl.flock(part, fcntl.LOCK_SH)
                return os.dup(part)
        except OSError as error:
            advice = "lower data.cache_gb, or " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
            raise EnvironmentFault(
                f"{error.filename or path}: {error.strerror}; {advice}set BIGGAN_SCALE_CACHE to a directory with room"
            ) from error

    def read(self, name: str, download: Callable[[Part], None]) -> bytes:
        """The content of a file, which is then not in use any more."""
        descriptor = self.open(name, None, download)
        assert descriptor is not None
        with open(descriptor, "rb") as file:
            file.seek(0)
            return file.read()

    def forget(self, name: str) -> None:
        """Removes a file that turned out to be damaged; its users keep what they have open."""
        (self.directory / name).unlink(missing_ok=True)

    def _open_finished(self, path: Path, num_bytes: int | None) -> int | None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if num_bytes is not None and os.fstat(descriptor).st_size != num_bytes:  # the disk has lost something
            os.close(descriptor)
            path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(descriptor)  # used now
        return descriptor

    def _make_room(self, num_bytes: int) -> None:
        """Removes what was used longest ago and is not in use, until `num_bytes` more are within the limit."""
        if self.limit_bytes is None:
            return
        with open(self.directory / "lock", "w") as lock:  # one process at a time
            fcntl.flock(lock, fcntl.LOCK_EX)
            files = sorted(_files(self.directory))
            excess = sum(size for _, size, _ in files) + num_bytes - self.limit_bytes
            for _, size, path in files:
                if excess <= 0:
                    return
                if path.suffix in KEPT and _remove_unused(path):
                    excess -= size
        if excess > 0:
            print(
                f"{self.directory}: all of it is in use; it grows {excess / 1e9:.3g} GB beyond data.cache_gb",
                file=sys.stderr,
                flush=True,
            )


class Part:
    """The beginning of a file, to be continued."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @property
    def num_bytes(self) -> int:
        return os.fstat(self.descriptor).st_size

    def append(self, block: bytes) -> None:
        view = memoryview(block)
        while view:
            view = view[os.pwrite(self.descriptor, view, self.num_bytes) :]

    def clear(self) -> None:
        os.ftruncate(self.descriptor, 0)

    def sha256(self) -> str:
        return descriptor_sha256(self.descriptor)


def descriptor_sha256(descriptor: int) -> str:
    """Of the whole file."""
    digest, offset = hashlib.sha256(), 0
    while block := os.pread(descriptor, 2**20, offset):
        digest.update(block)
        offset += len(block)
    return digest.hexdigest()


def _part_of(path: Path) -> Path:
    return path.with_name(path.name + PART)


@contextlib.contextmanager
def _sole_part(path: Path, wait: bool) -> Iterator[int | None]:
    """The descriptor of the part, locked for us alone; None if another has it and we do not wait."""
    part = _part_of(path)
    while True:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        locked = _lock_at_once(descriptor)
        if locked and _is_at(descriptor, part):
            break
        os.close(descriptor)
        if not locked:
            if not wait:
                yield None
                return
            time.sleep(POLL_S)  # not in the lock: once renamed, its users hold it for as long as they like
    try:
        yield descriptor
    finally:
        if os.fstat(descriptor).st_size == 0 and _is_at(descriptor, part):
            part.unlink(missing_ok=True)
        os.close(descriptor)


def _lock_at_once(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _files(directory: Path) -> Iterator[tuple[int, int, Path]]:
    """(time of last use, bytes, path) of all that counts, parts too."""
    for folder in os.scandir(directory):
        if folder.is_dir(follow_symlinks=False):
            for entry in os.scandir(folder.path):
                if entry.name.endswith((*KEPT, PART)):
                    with contextlib.suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        yield status.st_mtime_ns, status.st_size, Path(entry.path)


def _remove_unused(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    unused = _lock_at_once(descriptor)
    if unused:
        path.unlink(missing_ok=True)
    os.close(descriptor)
    return unused
