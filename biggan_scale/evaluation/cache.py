"""Tensors that are worth keeping between evaluations: features of real images, a trained classifier.

A file is a safetensors file whose metadata say what its tensors were computed from; they are used only where that is exactly what
is wanted. One that is damaged, or of something else, counts as absent and is replaced.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from biggan_scale.data.index import write_atomically

KEY = "computed_from"


def read(file: Path, identity: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """The tensors of a file that were computed from `identity`, or None."""
    try:
        with safe_open(file, "pt") as opened:
            if json.loads((opened.metadata() or {}).get(KEY, "null")) != dict(identity):
                return None
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, ValueError) as error:
        warnings.warn(f"{file}: {error}; computing it again", stacklevel=2)
        return None


def write(file: Path, tensors: Mapping[str, Tensor], identity: Mapping[str, Any]) -> None:
    """Keeps tensors. A directory that cannot be written costs the next evaluation time, and is only told."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        content = save({name: tensor.contiguous() for name, tensor in tensors.items()}, {KEY: json.dumps(dict(identity))})
        write_atomically(file, content)
    except OSError as error:
        warnings.warn(f"{file}: not kept for the next evaluation: {error.strerror or error}; set BIGGAN_SCALE_CACHE", stacklevel=2)
