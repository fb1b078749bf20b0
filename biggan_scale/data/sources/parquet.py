"""Parquet files as Hugging Face's datasets has them: an image column of structs {bytes, path}, and a column of labels.

Which column is which is read from the features that `datasets` stores in the file (Image, ClassLabel with its names), else
guessed from names and types; `--columns IMAGE,LABEL` says it. Needs the package pyarrow.

Parquet cannot read one row, and packing wants rows in a random order: the images that will be packed are first copied, in one
pass, to a temporary file beside the shards.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from biggan_scale.config.errors import ConfigError, DataError, EnvironmentFault
from biggan_scale.data.index import MAX_FILE_BYTES, NO_LABEL
from biggan_scale.data.sources.base import Listing, Sample, Source

MAGIC = b"PAR1"
ROWS_AT_ONCE = 64
LABEL_NAMES = ("label", "labels", "cls", "class", "fine_label", "target")


class ParquetSource(Source):
    """One or more files with the same columns; rows are numbered through all of them.

    Args:
        path: for messages.
        files: in order.
        columns: of the image and, if any, of the label; None finds them.
    """

    def __init__(self, path: Path, files: Sequence[Path], columns: tuple[str, ...] | None = None) -> None:
        self.path = path
        self.files = list(files)
        self.columns = columns
        self._copied = Path()
        self._rows = np.empty(0, np.int64)  # sorted; those that were copied
        self._places = np.empty((0, 2), np.int64)  # offset and size of each; size -1: there is no image

    def list(self) -> Listing:
        _, label, names = self._find_columns()
        num_rows = sum(self._open(file).metadata.num_rows for file in self.files)
        if num_rows == 0:
            raise DataError(f"{self.path}: no rows")
        if label is None:
            return Listing([Sample(f"{row:09d}", NO_LABEL) for row in range(num_rows)], ())
        values = [value for file in self.files for value in self._open(file).read(columns=[label]).column(label).to_pylist()]
        labels, classes = _number(self.path, label, values, names)
        return Listing([Sample(f"{row:09d}", number) for row, number in enumerate(labels)], classes)

    def prepare(self, names: Sequence[str], scratch: Path) -> None:
        image, _, _ = self._find_columns()
        self._rows = np.unique(np.array([int(name) for name in names], np.int64))
        self._places = np.full((len(self._rows), 2), -1, np.int64)
        self._copied = scratch / "images"
        wanted = dict(zip(self._rows.tolist(), range(len(self._rows)), strict=True))
        with open(self._copied, "wb") as copied:
            for row, data in enumerate(self._images(image)):
                if row in wanted and data is not None:
                    self._places[wanted[row]] = copied.tell(), len(data)
                    copied.write(data)

    def read(self, name: str) -> bytes:
        offset, size = self._places[np.searchsorted(self._rows, int(name))].tolist()
        if size < 0:
            raise ValueError("has no image bytes (only a path, or nothing)")
        with open(self._copied, "rb") as file:
            file.seek(offset)
            return file.read(size)

    def _images(self, column: str) -> Iterator[bytes | None]:
        for file in self.files:
            for batch in self._open(file).iter_batches(batch_size=ROWS_AT_ONCE, columns=[column]):
                for value in batch.column(0).to_pylist():
                    data = value.get("bytes") if isinstance(value, dict) else value
                    yield data if isinstance(data, bytes) and len(data) <= MAX_FILE_BYTES else None

    def _open(self, file: Path) -> Any:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise EnvironmentFault(f"{self.path}: reading Parquet needs the package pyarrow; pip install 'biggan_scale[parquet]'") from None
        try:
            return pyarrow.parquet.ParquetFile(file)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{file}: not a Parquet file that can be read: {str(error).splitlines()[0]}") from error

    def _find_columns(self) -> tuple[str, str | None, tuple[str, ...] | None]:
        """Column of the images, column of the labels or None, and the names of the classes where the file has them."""
        schema = self._open(self.files[0]).schema_arrow
        features = _features(schema)
        if self.columns is not None:
            if missing := [column for column in self.columns if column not in schema.names]:
                raise ConfigError(f"--columns: no column {missing[0]!r}; there are {', '.join(schema.names)}")
            image, *rest = self.columns
            label = rest[0] if rest else None
        else:
            image = self._the_only("image", [c for c in schema.names if _is_image(schema.field(c), features.get(c))])
            named = [c for c in schema.names if features.get(c, {}).get("_type") == "ClassLabel"]
            guessed = [c for c in schema.names if c in LABEL_NAMES]
            label = self._the_only("label", named or guessed) if named or guessed else None
        names = features.get(label, {}).get("names") if label is not None else None
        return image, label, tuple(names) if names else None

    def _the_only(self, kind: str, columns: Sequence[str]) -> str:
        if len(columns) != 1:
            found = f"{len(columns)} columns could be the {kind} ({', '.join(columns)})" if columns else f"no column of {kind}s"
            raise ConfigError(f"{self.path}: {found}; say which with --columns IMAGE,LABEL or --columns IMAGE")
        return columns[0]


def _features(schema: Any) -> dict[str, Any]:
    """What `datasets` has noted about each column."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _is_image(field: Any, feature: Any) -> bool:
    if feature is not None:
        return feature.get("_type") == "Image"
    kind = field.type
    if str(kind) in ("binary", "large_binary"):
        return True
    return str(kind).startswith("struct") and any(kind.field(i).name == "bytes" for i in range(kind.num_fields))


def _number(path: Path, column: str, values: list[Any], names: tuple[str, ...] | None) -> tuple[list[int], tuple[str, ...]]:
    if values and all(isinstance(value, str) for value in values):
        classes = tuple(sorted(set(values)))
        numbers = {name: number for number, name in enumerate(classes)}
        return [numbers[value] for value in values], classes
    highest = len(names) - 1 if names else 10**6
    for row, value in enumerate(values):
        if type(value) is not int or not 0 <= value <= highest:
            raise DataError(f"{path}: row {row} has label {value!r} in column {column!r}; allowed are 0 to {highest}")
    return values, names or tuple(str(label) for label in range(max(values) + 1))
