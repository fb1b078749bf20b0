"""What a directory of shards holds: one `dataset.json`, and beside each shard `NAME.tar` its index `NAME.idx.npy`.

Shards are plain webdataset tars. The index gives for each sample where its image lies in the tar (offset, size), its label and
its crc32, so that a sample is one `pread`, found without walking the tar. `dataset.json` gives the resolution, the classes, and
for each shard its size and the sha256 of it and of its index; its own sha256 is the fingerprint, by which a run knows its data.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biggan_scale.config.errors import DataError
from biggan_scale.data.shard_file import LocalShard, ShardFile

FORMAT = "biggan_scale shards 1"
DATASET_FILE = "dataset.json"
MAX_FILE_BYTES = 256 * 2**20  # of one image file: far above any photograph, far below what would exhaust a machine
NO_LABEL = -1  # of every sample of a data set without classes

# offset, size: of the image's bytes in the tar. crc32: of these bytes.
INDEX_DTYPE = np.dtype([("offset", "<i8"), ("size", "<u4"), ("label", "<i4"), ("crc32", "<u4")])


@dataclass(frozen=True)
class Shard:
    """One tar and what must be true of it."""

    name: str  # of the tar in the data set's directory
    num_samples: int
    bytes: int
    sha256: str
    index_sha256: str

    @property
    def index_name(self) -> str:
        return index_name(self.name)


@dataclass(frozen=True)
class Dataset:
    """A directory of shards. `Dataset.open` reads and checks one; `save` publishes a new one, after its shards.

    Args:
        path: the directory.
        height, width, channels: of every image.
        encode: how the images are stored: png, jpeg, webp, raw, or keep (any of these).
        classes: their names, by label; empty for data without labels.
        label_histogram: number of samples of each class.
        shards: in the order in which `GlobalOrder` numbers them.
    """

    path: Path
    height: int
    width: int
    channels: int
    encode: str
    classes: tuple[str, ...]
    label_histogram: tuple[int, ...]
    shards: tuple[Shard, ...]

    @classmethod
    def open(cls, path: str | os.PathLike[str], check_files: bool = True) -> Dataset:
        """Reads `dataset.json` and, unless told otherwise, checks by their sizes that all shards are there and whole.

        Raises: DataError.
        """
        dataset = _parse_file(Path(path))
        if check_files:
            problems = [problem for shard in dataset.shards if (problem := dataset.file_problem(shard))]
            if problems:
                more = f" (and {len(problems) - 1} more shards)" if len(problems) > 1 else ""
                raise DataError(f"{problems[0]}{more}; copy again from where it was packed, or pack again")
        return dataset

    def save(self) -> None:
        """Writes `dataset.json`, by which the directory becomes a data set."""
        text = json.dumps(self._content(), indent=1, ensure_ascii=False)
        write_atomically(self.path / DATASET_FILE, text.encode() + b"\n")

    @property
    def num_samples(self) -> int:
        return sum(shard.num_samples for shard in self.shards)

    @property
    def num_classes(self) -> int:
        """0 for data without labels."""
        return len(self.classes)

    @property
    def shard_sizes(self) -> NDArray[np.int64]:
        """(num_shards,) number of samples of each, as `GlobalOrder` wants them."""
        return np.array([shard.num_samples for shard in self.shards], np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of all that is in `dataset.json`, and with it of every byte of the data."""
        canonical = json.dumps(self._description(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def shard_path(self, shard: int) -> Path:
        return self.path / self.shards[shard].name

    def load_index(self, shard: int) -> NDArray[np.void]:
        """(num_samples,) of INDEX_DTYPE, checked against sha256 and number of classes.

        Raises: DataError.
        """
        wanted = self.shards[shard]
        path = self.shown(wanted.index_name)
        data = self._read_index(wanted)
        if hashlib.sha256(data).hexdigest() != wanted.index_sha256:
            raise DataError(f"{path}: its sha256 is not the one in {DATASET_FILE}; copy it again from where it was packed, or pack again")
        # The header is compared, not parsed: numpy parses it by `ast`, and in CPython 3.11 that may fail where a garbage collection falls
        # into it ("AST constructor recursion depth mismatch").
        header = _header(wanted.num_samples)
        if not data.startswith(header) or len(data) != len(header) + wanted.num_samples * INDEX_DTYPE.itemsize:
            raise DataError(f"{path}: not an index of {wanted.num_samples} samples; pack again")
        rows = np.frombuffer(data, INDEX_DTYPE, offset=len(header))
        lowest, highest = (0, self.num_classes - 1) if self.classes else (NO_LABEL, NO_LABEL)
        wrong = np.flatnonzero((rows["label"] < lowest) | (rows["label"] > highest))
        if len(wrong):
            sample = int(wrong[0])
            raise DataError(f"{path}: sample {sample} has label {rows['label'][sample]}; allowed are {lowest} to {highest}; pack again")
        return rows

    @contextmanager
    def at_hand(self, shard: int) -> Iterator[Path]:
        """The path of a whole tar, which is there for as long as the context lasts."""
        yield self.shard_path(shard)

    def open_shard(self, shard: int) -> ShardFile:
        """Raises: DataError where it is missing or has not its size."""
        return LocalShard(self.shard_path(shard), self.shards[shard].bytes)

    def shown(self, name: str) -> str:
        """Where a file of the data set is, for messages."""
        return str(self.path / name)

    @property
    def how_to_check(self) -> str:
        """What to do when something is wrong, for messages."""
        return f"restore the shard, and see `biggan-data verify {self.path}`"

    def _read_index(self, shard: Shard) -> bytes:
        path = self.path / shard.index_name
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}; copy it again from where it was packed, or pack again") from error

    def file_problem(self, shard: Shard) -> str | None:
        """What a look at the directory says is wrong with a shard."""
        path = self.path / shard.name
        try:
            size = path.stat().st_size
        except OSError as error:
            return f"{path}: {error.strerror}"
        if size != shard.bytes:
            return f"{path}: {size} of {shard.bytes} bytes"
        if not (self.path / shard.index_name).is_file():
            return f"{self.path / shard.index_name}: No such file"
        return None

    def _content(self) -> dict[str, Any]:
        """Of `dataset.json`."""
        return {**self._description(), "fingerprint": self.fingerprint}

    def _description(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "height": self.height,
            "width": self.width,
            "channels": self.channels,
            "encode": self.encode,
            "num_samples": self.num_samples,
            "classes": list(self.classes),
            "label_histogram": list(self.label_histogram),
            "shards": [vars(shard) for shard in self.shards],
        }


def index_name(shard_name: str) -> str:
    return shard_name.removesuffix(".tar") + ".idx.npy"


def index_bytes(rows: Sequence[tuple[int, int, int, int]]) -> bytes:
    """The content of an index file for samples given as (offset, size, label, crc32)."""
    return _header(len(rows)) + np.array(rows, INDEX_DTYPE).tobytes()


def _header(num_samples: int) -> bytes:
    """The beginning of a .npy file of (num_samples,) of INDEX_DTYPE."""
    buffer = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(INDEX_DTYPE)
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": (num_samples,)})
    return buffer.getvalue()


def file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """A file that is there whole or not at all, whenever the machine stops."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Makes renames within a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parse_file(path: Path) -> Dataset:
    file = path / DATASET_FILE
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no {DATASET_FILE} here; make one with `biggan-data pack` or, for tars, `biggan-data index`") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from error
    return parse(content, path, str(file))


def parse(content: bytes, path: Path, file: str) -> Dataset:
    """The data set that the content of a `dataset.json` describes.

    Args:
        content: of the file.
        path: the directory of the shards.
        file: name of the file, for messages.

    Raises: DataError.
    """
    try:
        tree = json.loads(content)
    except ValueError as error:
        raise DataError(f"{file}: cannot be read: {error}") from error
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        raise DataError(f"{file}: not a list of shards in the format {FORMAT!r}")
    try:
        dataset = Dataset(
            path=path,
            height=int(tree["height"]),
            width=int(tree["width"]),
            channels=int(tree["channels"]),
            encode=str(tree["encode"]),
            classes=tuple(tree["classes"]),
            label_histogram=tuple(tree["label_histogram"]),
            shards=tuple(Shard(**shard) for shard in tree["shards"]),
        )
        intact = dataset._content() == tree and content.endswith(b"\n")  # whatever is not as we write it
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file}: damaged: {type(error).__name__}: {error}") from error
    if not intact:
        raise DataError(f"{file}: its fingerprint does not match its content; it is damaged or was edited by hand")
    for shard in dataset.shards:
        if Path(shard.name).name != shard.name:
            raise DataError(f"{file}: shard {shard.name!r} is not a plain file name")
    if dataset.num_samples < 1:
        raise DataError(f"{file}: no samples")
    return dataset
