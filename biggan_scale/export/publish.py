"""Files and folders that appear whole or not at all: written beside their place, renamed when complete."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from biggan_scale.config.errors import ConfigError, EnvironmentFault


def probe(path: Path) -> None:
    """Find out now, not after hours of computing, that a file cannot be written. Raises: EnvironmentFault."""
    temporary = _beside("tmp", path)
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder of that name exists")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise unwritable(path, error) from error


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yields the path to write to; on leaving without an error it becomes `path`, replacing what was there.

    Raises:
        EnvironmentFault: it cannot be written.
    """
    temporary = _beside("tmp", path)
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def unfinished_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder beside `path`, of the same file system, for what is to be moved there when it is complete; removed
    on leaving.

    Raises:
        EnvironmentFault: it cannot be written there.
    """
    path = path.absolute()
    temporary = _beside("tmp", path)
    try:
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "a file of that name exists")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def new_folder(path: Path, may_replace: Callable[[Path], bool]) -> Iterator[Path]:
    """Yields an empty folder to fill; on leaving without an error it becomes `path`.

    Args:
        may_replace: whether a non-empty folder at `path` may be replaced; it stays as it was until the new one is complete.

    Raises:
        ConfigError: something else is there.
        EnvironmentFault: the place cannot be written.
    """
    path = path.absolute()
    temporary, old = _beside("tmp", path), _beside("old", path)
    try:
        if path.exists() and not (path.is_dir() and (not any(path.iterdir()) or may_replace(path))):
            raise ConfigError(f"{path} exists and is not an export; choose another --out, or remove it first")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        if path.exists():
            os.rename(path, old)
        os.rename(temporary, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if old.exists() and not path.exists():
            os.rename(old, path)
        shutil.rmtree(old, ignore_errors=True)


def _beside(word: str, path: Path) -> Path:
    return path.with_name(f".{word}_{os.getpid()}_{path.name}")


def unwritable(path: Path, error: OSError) -> EnvironmentFault:
    return EnvironmentFault(f"{path} cannot be written: {error.strerror or error}; choose another --out")
