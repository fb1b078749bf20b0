"""Reading what torch.save wrote, executing nothing: torch's restricted unpickler knows tensors and containers only."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from biggan_scale.config import CheckpointError

State = dict[str, Tensor]


def read(file: Path, allowed: Sequence[type] = ()) -> Any:
    """What the file holds.

    Args:
        file: in torch.save's zip format or the older one.
        allowed: classes it may name beside tensors and containers.

    Raises:
        CheckpointError: the file is damaged, or asks for anything else.
    """
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(allowed)):
            warnings.simplefilter("ignore")  # about the pickle protocols of files that are refused anyway
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        why = f"it asks for {wanted[1]}" if wanted else "it is no state dict"
        raise CheckpointError(f"{file}: refused: {why}; only tensors are read") from None
    except Exception as error:  # torch.load answers damaged files with nearly every kind of error
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{file}: cannot be read as a torch file: {why}") from None


def read_state(file: Path, expected: str, key: str | None = None) -> State:
    """The tensors of a file that holds a state dict and nothing else, or one under a key, in float32.

    Args:
        expected: what the file should be, for errors.
        key: where in the file the state dict is; None: it is all there is.

    Raises:
        CheckpointError: the file is damaged, holds anything else, or is not a state dict.
    """
    content = read(file)
    state: Any = content if key is None else content.get(key) if isinstance(content, Mapping) else None
    if not is_state(state):
        raise CheckpointError(f"{file}: {'not a state dict' if key is None else f'no {key}'} of tensors; expected {expected}")
    return single_precision(state)


def is_state(content: object) -> bool:
    """Whether this is a state dict of tensors, and not empty."""
    return isinstance(content, Mapping) and bool(content) and all(isinstance(value, Tensor) for value in content.values())


def single_precision(state: Mapping[Any, Tensor]) -> State:
    """The state in float32, without the prefix that DataParallel puts before every name."""
    return {str(key).removeprefix("module."): value.float() for key, value in state.items()}
