"""Samples by shard and index: one `pread` and one checksum each, from a bounded number of open shards."""

from __future__ import annotations

import contextlib
import tarfile
import zlib
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from biggan_scale.config.errors import DataError
from biggan_scale.data.decode import decode
from biggan_scale.data.index import Dataset
from biggan_scale.data.shard_file import ShardFile


class SampleError(DataError):
    """One image is bad; its shard is there."""


class OpenShard(NamedTuple):
    file: ShardFile
    rows: NDArray[np.void]


class Reader:
    """Random access to the samples of a data set.

    Shards are opened when first touched, so a reader may be handed to another process before.

    Args:
        dataset: what to read.
        max_open: how many shards (descriptor and index, about 20 bytes a sample) are kept; the least recently used is closed.
    """

    def __init__(self, dataset: Dataset, max_open: int = 64) -> None:
        self.dataset = dataset
        self.max_open = max_open
        self._open: OrderedDict[int, OpenShard] = OrderedDict()

    def read(self, shard: int, index: int) -> tuple[bytes, int]:
        """The encoded image and the label of one sample, its checksum verified.

        Raises: SampleError naming shard and key where its bytes are wrong; DataError where the shard cannot be read or is cut.
        """
        file, rows = self._shard(shard)
        offset, size, label, crc32 = rows[index].item()
        data = file.read(offset, size)
        is_intact = zlib.crc32(data) == crc32
        if not is_intact and file.mend():
            data = file.read(offset, size)
            is_intact = zlib.crc32(data) == crc32
        if len(data) != size:
            raise DataError(f"{self.where(shard, index)}: only {len(data)} of {size} bytes are there; restore the shard")
        if not is_intact:
            damage = "its bytes have changed since they were packed"
            raise SampleError(f"{self.where(shard, index)}: {damage}; {self.dataset.how_to_check}")
        return data, label

    def read_pixels(self, shard: int, index: int, out: NDArray[np.uint8]) -> int:
        """Fills `out` (H, W, C) with the image of one sample and returns its label.

        Raises: SampleError naming shard and key; DataError where the shard cannot be read.
        """
        data, label = self.read(shard, index)
        try:
            decode(data, out)
        except ValueError as error:
            raise SampleError(f"{self.where(shard, index)}: {error}; pack again without it") from error
        return label

    def where(self, shard: int, index: int) -> str:
        """A sample's place for messages: path of the shard, and the name of the image if the tar still tells it."""
        path = self.dataset.shard_path(shard)
        offset = int(self._shard(shard).rows["offset"][index])
        name = "its name is unreadable"
        with contextlib.suppress(tarfile.TarError, OSError), tarfile.open(path, "r:") as tar:
            name = next((member.name for member in tar if member.offset_data == offset), name)
        return f"{self.dataset.shown(path.name)}: sample {index} ({name})"

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].file.close()

    def _shard(self, shard: int) -> OpenShard:
        opened = self._open.get(shard)
        if opened is None:
            opened = self._open_shard(shard)
            if len(self._open) > self.max_open:
                self._open.popitem(last=False)[1].file.close()
        else:
            self._open.move_to_end(shard)
        return opened

    def _open_shard(self, shard: int) -> OpenShard:
        rows = self.dataset.load_index(shard)
        self._open[shard] = OpenShard(self.dataset.open_shard(shard), rows)
        return self._open[shard]
