"""CIFAR-10 and CIFAR-100 as they are handed out: cifar-10-python.tar.gz, cifar-10-binary.tar.gz, cifar-100-*, or unpacked.

The python archives hold pickles. They are read by an unpickler that knows one thing, numpy's arrays of bytes, and builds these
from their plain state itself: any other name in a pickle is refused, and no code that a pickle names is ever called.
"""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from biggan_scale.config.errors import DataError
from biggan_scale.data.sources.base import Listing, Sample, Source

PIXELS = 3 * 32 * 32
MAX_MEMBER_BYTES = 256 * 2**20  # the largest, CIFAR-100's train, has 155 MB
TRAIN_10 = [f"data_batch_{number}" for number in range(1, 6)]
# By subset: the python files of CIFAR-10 and CIFAR-100, then the binary ones.
PARTS = {"train": [TRAIN_10, ["train"]], "test": [["test_batch"], ["test"]]}
NAMES_10, NAMES_100 = "batches.meta", "meta"
_NAMES_IN_BINARY = {"batches.meta.txt", "fine_label_names.txt"}
_PARTS = {name for parts in PARTS.values() for names in parts for name in names}
KNOWN = {*_PARTS, *(f"{name}.bin" for name in _PARTS), NAMES_10, NAMES_100, *_NAMES_IN_BINARY}  # files that are read at all


class _Content(NamedTuple):
    images: NDArray[np.uint8]  # (N, 32, 32, 3)
    labels: list[int]
    classes: tuple[str, ...]


class CifarSource(Source):
    def __init__(self, path: Path, subset: str = "train") -> None:
        self.path = path
        self.subset = subset

    def __reduce__(self) -> tuple[Any, ...]:
        return CifarSource, (self.path, self.subset)

    def list(self) -> Listing:
        _, labels, classes = self._content
        for index, label in enumerate(labels):
            if type(label) is not int or not 0 <= label < len(classes):
                raise DataError(f"{self.path}: image {index} has label {label!r}; allowed are 0 to {len(classes) - 1}")
        return Listing([Sample(f"{index:05d}", label) for index, label in enumerate(labels)], classes)

    def read(self, name: str) -> NDArray[np.uint8]:
        return self._content.images[int(name)]

    @cached_property
    def _content(self) -> _Content:
        files = _files(self.path)
        for parts, meta in zip(PARTS[self.subset], (NAMES_10, NAMES_100), strict=True):
            if all(part in files for part in parts) and meta in files:
                return self._from_pickles([files[part] for part in parts], files[meta])
            if all(f"{part}.bin" in files for part in parts):
                return self._from_binary([files[f"{part}.bin"] for part in parts], files, is_cifar_100=meta == NAMES_100)
        raise DataError(
            f"{self.path}: the {self.subset} files of CIFAR-10 or CIFAR-100 are not all in it; it has {', '.join(sorted(files))}"
        )

    def _from_pickles(self, parts: Sequence[bytes], meta: bytes) -> _Content:
        images, labels = [], []
        for part in map(self._unpickle, parts):
            data, of_part = part.get("data"), part.get("labels", part.get("fine_labels"))
            if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != PIXELS or not isinstance(of_part, list):
                raise DataError(f"{self.path}: not the content of a CIFAR file")
            if len(of_part) != len(data):
                raise DataError(f"{self.path}: {len(of_part)} labels for {len(data)} images")
            images.append(data)
            labels += of_part
        described = self._unpickle(meta)
        names = described.get("label_names", described.get("fine_label_names"))
        if not isinstance(names, list):
            raise DataError(f"{self.path}: no names of classes")
        return _Content(_upright(np.concatenate(images)), labels, tuple(map(_text, names)))

    def _from_binary(self, parts: Sequence[bytes], files: dict[str, bytes], is_cifar_100: bool) -> _Content:
        """Each image is its label (CIFAR-100: coarse, fine) in a byte and 3072 bytes of pixels."""
        num_labels = 2 if is_cifar_100 else 1
        names = files.get("fine_label_names.txt" if is_cifar_100 else "batches.meta.txt", b"").decode("utf-8", "replace").split()
        if any(len(part) % (PIXELS + num_labels) for part in parts):
            raise DataError(f"{self.path}: not whole images of {PIXELS + num_labels} bytes; it is damaged or cut")
        rows = np.frombuffer(b"".join(parts), np.uint8).reshape(-1, PIXELS + num_labels)
        classes = tuple(names) or tuple(str(label) for label in range(100 if is_cifar_100 else 10))
        return _Content(_upright(rows[:, num_labels:]), rows[:, num_labels - 1].tolist(), classes)

    def _unpickle(self, data: bytes) -> dict[str, Any]:
        try:
            content = _ArraysOnly(io.BytesIO(data), encoding="bytes").load()
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from None
        except Exception as error:  # a damaged pickle fails in any way it likes
            raise DataError(f"{self.path}: not a CIFAR file: {type(error).__name__}: {error}") from error
        if not isinstance(content, dict):
            raise DataError(f"{self.path}: not the content of a CIFAR file")
        return {_text(key): value.array() if isinstance(value, _Array) else value for key, value in content.items()}


def is_cifar(names: list[str]) -> bool:
    """Whether these are the files of a CIFAR archive."""
    found = {PurePosixPath(name).name.removesuffix(".bin") for name in names}
    return {*TRAIN_10, "test_batch"} <= found or ({"train", "test"} <= found and bool(found & {"meta", "fine_label_names.txt"}))


def _upright(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _files(path: Path) -> dict[str, bytes]:
    """The files of the folder or archive by their bare names."""
    try:
        if path.is_dir():
            files = [file for file in path.iterdir() if file.name in KNOWN and file.is_file() and file.stat().st_size <= MAX_MEMBER_BYTES]
            return {file.name: file.read_bytes() for file in files}
        found = {}
        with tarfile.open(path) as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                if name in KNOWN and member.isreg() and not member.issparse() and member.size <= MAX_MEMBER_BYTES:
                    content = tar.extractfile(member)
                    found[name] = content.read(member.size) if content else b""
        return found
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


class _Kind:
    """Stands for numpy's class of that name."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        pass  # a dtype's byte order and the like, which bytes do not have


class _Array:
    """Stands for an array while its pickle is read: takes the state, (version, shape, dtype, is_fortran, bytes)."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> NDArray[np.uint8]:
        _, shape, dtype, is_fortran, data = self.state
        if not isinstance(dtype, _Kind) or _text(dtype.arguments[0]) != "u1" or not isinstance(data, bytes):
            raise DataError("an array in it is not of bytes")
        return np.frombuffer(data, np.uint8).reshape(shape, order="F" if is_fortran else "C")


def _latin_1(text: Any, encoding: Any) -> bytes:
    """Python 3 pickles bytes for Python 2 as text with this call."""
    if encoding not in ("latin1", b"latin1"):
        raise DataError(f"a pickle in it asks for the encoding {encoding!r}")
    return str(text).encode("latin-1")


class _ArraysOnly(pickle.Unpickler):
    """Gives stand-ins of ours for the few names that CIFAR's pickles hold."""

    ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy._core.multiarray", "_reconstruct"): _Array,
        ("numpy", "ndarray"): _Kind,
        ("numpy", "dtype"): _Kind,
        ("_codecs", "encode"): _latin_1,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.ALLOWED[module, name]
        except KeyError:
            raise DataError(
                f"a pickle in it names {module}.{name}; CIFAR's hold arrays of bytes only, and nothing else is loaded"
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        raise DataError("a pickle in it refers to something outside")
