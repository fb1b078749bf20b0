"""Makes a data set of webdataset tars that others have written: reads each once and writes the indexes beside them."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from biggan_scale.config.errors import ConfigError, DataError, EnvironmentFault
from biggan_scale.data.decode import image_format, stored_shape
from biggan_scale.data.index import DATASET_FILE, NO_LABEL, Dataset, Shard, file_sha256, index_bytes, index_name, write_atomically
from biggan_scale.data.pack import refuse_empty_classes
from biggan_scale.data.tar import samples

CLASSES_FILE = "classes.json"


def index_tars(directory: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> Dataset:
    """Indexes all `*.tar` of a directory, whose images must all have one size.

    Labels come from the `.cls` members; the names of the classes from `classes.json`, a list, if it is there.

    Args:
        directory: where the tars are and the indexes go.
        progress: called with the number of tars done and their total.

    Raises: DataError, ConfigError, EnvironmentFault.
    """
    if (directory / DATASET_FILE).exists():
        raise ConfigError(f"{directory}: is indexed already; remove {DATASET_FILE} to index it anew")
    tars = sorted(directory.glob("*.tar"))
    if not tars:
        raise ConfigError(f"{directory}: no *.tar in it")
    try:
        scan = _Scan(directory)
        for done, path in enumerate(tars, start=1):
            scan.add(path)
            progress(done, len(tars))
        dataset = scan.dataset()
        refuse_empty_classes(dataset, str(directory))
        dataset.save()
    except OSError as error:
        raise EnvironmentFault(f"{error.filename or directory}: {error.strerror}") from error
    return dataset


class _Scan:
    """What has been seen of the tars so far."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.shards: list[Shard] = []
        self.where_is: dict[str, str] = {}  # key: name of its tar
        self.labels: Counter[int] = Counter()
        self.formats: set[str] = set()
        self.shape: tuple[int, int, int] | None = None

    def add(self, path: Path) -> None:
        rows = []
        for sample in samples(path):
            if self.where_is.setdefault(sample.key, path.name) != path.name:
                raise DataError(f"{path}: key {sample.key!r} is in {self.where_is[sample.key]} already; keys must be unique")
            self._check_image(path, sample.key, sample.data)
            rows.append((sample.offset, len(sample.data), sample.label, zlib.crc32(sample.data)))
            self.labels[sample.label] += 1
        if not rows:
            raise DataError(f"{path}: no samples in it")
        if len(self.labels) > 1 and NO_LABEL in self.labels:
            raise DataError(f"{path}: some samples have a label (.cls) and {self.labels[NO_LABEL]} have none; all must, or none")
        index = index_bytes(rows)
        write_atomically(self.directory / index_name(path.name), index)
        self.shards.append(Shard(path.name, len(rows), path.stat().st_size, file_sha256(path), hashlib.sha256(index).hexdigest()))

    def dataset(self) -> Dataset:
        assert self.shape is not None
        height, width, channels = self.shape
        classes = self._classes()
        return Dataset(
            path=self.directory,
            height=height,
            width=width,
            channels=channels,
            encode=self.formats.pop() if len(self.formats) == 1 else "keep",
            classes=classes,
            label_histogram=tuple(self.labels[label] for label in range(len(classes))),
            shards=tuple(self.shards),
        )

    def _check_image(self, path: Path, key: str, data: bytes) -> None:
        try:
            shape = stored_shape(data)
        except ValueError as error:
            raise DataError(f"{path}: sample {key!r}: {error}") from error
        self.shape = self.shape or shape
        if shape != self.shape:
            raise DataError(f"{path}: sample {key!r} is {shape}, others are {self.shape} (height, width, channels); use `biggan-data pack`")
        self.formats.add(str(image_format(data)))

    def _classes(self) -> tuple[str, ...]:
        highest = max(self.labels)
        file = self.directory / CLASSES_FILE
        if not file.exists():
            return tuple(str(label) for label in range(highest + 1))
        names = json.loads(file.read_text())
        if not isinstance(names, list) or len(names) <= highest:
            raise DataError(f"{file}: must be a list of at least {highest + 1} names, for the labels 0 to {highest}")
        return tuple(str(name) for name in names)
