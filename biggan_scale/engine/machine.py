"""What the machine does to a run, in words: a disk that is full or fails, memory that runs out.

Such errors come from anywhere, and none of them is a bug: they are told in one line, with exit code 5.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from biggan_scale.config.errors import EnvironmentFault

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE)
OUT_OF_MEMORY = ("out of memory", "can't allocate memory")  # torch's words, on a GPU and on a CPU: plain RuntimeErrors


@contextmanager
def faults_told(memory_hint: str) -> Iterator[None]:
    """Inside, an error that is the machine's becomes an EnvironmentFault. `memory_hint`: what to do where memory runs out."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK:
            raise
        where = f"{error.filename}: " if error.filename else "a file of the run: "
        raise EnvironmentFault(f"{where}{error.strerror}; the checkpoints are intact") from error
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(words in str(error) for words in OUT_OF_MEMORY):
            raise
        said = str(error).strip().splitlines()
        raise EnvironmentFault(f"out of memory ({said[0] if said else type(error).__name__}); {memory_hint}") from error
