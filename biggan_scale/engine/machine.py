"""What the machine does to a run, in words: a disk that is full or fails, memory that runs out.

Such errors come from anywhere, and none of them is a bug: they are told in one line, with exit code 5.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from biggan_scale.config.errors import EnvironmentFault

FULL = (errno.ENOSPC, errno.EDQUOT)
DISK = (*FULL, errno.EIO, errno.EROFS, errno.ESTALE)
OUT_OF_MEMORY = ("out of memory", "can't allocate memory")  # torch's words, on a GPU and on a CPU: plain RuntimeErrors
INTACT = "the checkpoints are intact"


@contextmanager
def faults_told(run_dir: Path, memory_hint: str) -> Iterator[None]:
    """Inside, an error that is the machine's becomes an EnvironmentFault. `memory_hint`: what to do where memory runs out."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK:
            raise
        path = Path(str(error.filename)) if error.filename else run_dir / "a file of the run"
        raise unwritten(path.name, path.parent, error) from error
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(words in str(error) for words in OUT_OF_MEMORY):
            raise
        said = str(error).strip().splitlines()
        raise EnvironmentFault(f"out of memory ({said[0] if said else type(error).__name__}); {memory_hint}") from error


@contextmanager
def writing(path: Path, num_bytes: int | None = None) -> Iterator[None]:
    """Inside, a file of a run is written, or so many bytes of it. Raises: EnvironmentFault."""
    try:
        yield
    except OSError as error:
        raise unwritten(path.name, path.parent, error, num_bytes) from error


def unwritten(what: str, folder: Path, error: Exception, num_bytes: int | None = None) -> EnvironmentFault:
    """What to tell of a part of a run that could not be written.

    Args:
        error: an OSError, or a library's that has the words of one.
        num_bytes: of the part, where that is known.
    """
    number = error.errno if isinstance(error, OSError) else next((n for n in FULL if os.strerror(n) in str(error)), 0)
    if number not in FULL:
        at = getattr(error, "filename", None)
        file = f" ({Path(str(at)).name})" if at and Path(str(at)) not in (folder, folder / what) else ""
        return EnvironmentFault(f"cannot write {what} in {folder}: {getattr(error, 'strerror', None) or error}{file}; {INTACT}")
    quota = f" ({os.strerror(number)})" if number == errno.EDQUOT else ""
    needs = "cannot be written" if num_bytes is None else f"needs {num_bytes:,} bytes"
    return EnvironmentFault(f"disk full{quota}: {what} {needs}, {_free(folder)} are free in {folder}; {INTACT}")


def _free(folder: Path) -> str:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return f"{shutil.disk_usage(folder).free:,} bytes"
    except OSError:  # it may be failing altogether
        return "unknown bytes"
