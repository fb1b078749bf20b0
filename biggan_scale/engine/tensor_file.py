"""Safetensors files that whoever may read a new file of ours may read: safetensors itself writes for the owner alone."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes a file whose mode is what the umask makes of it.

    Args:
        path: of a new file.
        tensors: by name; contiguous, and no two in the same memory.
        metadata: what stands in its header besides.

    Raises: OSError, SafetensorError.
    """
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)
    save_file(dict(tensors), path, None if metadata is None else dict(metadata))  # a file of its own, renamed
    path.chmod(mode)
