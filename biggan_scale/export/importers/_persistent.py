"""Reads the network pickles of NVIDIA's StyleGAN projects without executing anything.

Their pickles name one function, `_reconstruct_persistent_obj`, called with a mapping that holds the source code of a class, its name
and its state. Normal unpickling executes the source. Here that name, and the few others such files hold, stand for inert objects that
keep what they are given; every name beyond is refused. The source text is never looked at.
"""

from __future__ import annotations

import io
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from biggan_scale.config import CheckpointError


@dataclass
class Persistent:
    """A module as its pickle describes it."""

    class_name: str
    state: dict[str, Any]

    def children(self) -> dict[str, Persistent]:
        return {name: child for name, child in self.state.get("_modules", {}).items() if isinstance(child, Persistent)}

    def tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """What its state_dict would hold. A buffer or a parameter: some trainers freeze weights by making them buffers."""
        for kind in ("_parameters", "_buffers"):
            for name, value in self.state.get(kind, {}).items():
                if isinstance(value, Tensor):
                    yield prefix + name, value
        for name, child in self.children().items():
            yield from child.tensors(f"{prefix}{name}.")

    def find(self, *path: str) -> Persistent:
        """The module at a path. Raises: KeyError."""
        return self.children()[path[0]].find(*path[1:]) if path else self


class _Inert:
    """Stands for an object that nobody needs: a numpy number in a module's settings."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


class _Dict(dict):
    """Stands for a dict with attributes."""

    def __setstate__(self, state: Any) -> None: ...


def _module(meta: Any) -> Persistent:
    state = meta.get("state") if isinstance(meta, dict) else None
    if not isinstance(state, dict) or any(not isinstance(state.get(k, {}), dict) for k in ("_parameters", "_buffers", "_modules")):
        raise CheckpointError("an object in it is no module")
    return Persistent(str(meta.get("class_name", "")), state)


def _storage(data: Any) -> Any:
    if not isinstance(data, bytes):
        raise CheckpointError("a storage in it is not of bytes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the pickle protocols of what is refused anyway
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    if not isinstance(storage, torch.storage.TypedStorage):
        raise CheckpointError("a tensor in it has no storage")
    whole = torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage)
    view = torch.as_strided(whole, size, stride, offset)  # which checks the bounds
    if view.numel() > whole.numel():
        raise CheckpointError("a tensor in it is larger than its storage")
    return view.clone()


class _Reader(pickle.Unpickler):
    ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): _module,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
        ("torch.storage", "_load_from_bytes"): _storage,
        ("collections", "OrderedDict"): OrderedDict,
        ("dnnlib.util", "EasyDict"): _Dict,
        ("numpy", "dtype"): _Inert,
        ("numpy", "ndarray"): _Inert,
        ("numpy.core.multiarray", "scalar"): _Inert,
        ("numpy._core.multiarray", "scalar"): _Inert,
        ("numpy.core.multiarray", "_reconstruct"): _Inert,
        ("numpy._core.multiarray", "_reconstruct"): _Inert,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.ALLOWED[module, name]
        except KeyError:
            raise CheckpointError(f"it asks for {module}.{name}, and no code is executed") from None

    def persistent_load(self, pid: Any) -> Any:
        raise CheckpointError("it refers to something outside")


def read(file: Path) -> dict[str, Persistent]:
    """The networks of a pickle by their names: G, D, G_ema, and augment_pipe where there is one.

    Raises:
        CheckpointError: the file is damaged, holds anything else, or asks for code.
    """
    try:
        with file.open("rb") as stream:
            content = _Reader(stream).load()
    except CheckpointError as error:
        raise CheckpointError(f"{file}: refused: {error}") from None
    except OSError as error:
        raise CheckpointError(f"{file}: {error.strerror or error}") from None
    except Exception as error:  # a damaged pickle raises nearly every kind of error
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{file}: cannot be read as a network pickle: {why}") from None
    if not isinstance(content, dict) or not any(isinstance(value, Persistent) for value in content.values()):
        raise CheckpointError(f"{file}: holds no networks; expected a network-snapshot-*.pkl")
    return {str(name): value for name, value in content.items() if isinstance(value, Persistent)}
