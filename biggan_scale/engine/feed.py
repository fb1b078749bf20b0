"""From shards to the engine's batches: opening the data, checking that it fits the config, moving it to the device."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import torch
from torch import Tensor

from biggan_scale.config import RunConfig
from biggan_scale.config.errors import ConfigError
from biggan_scale.data.index import Dataset
from biggan_scale.data.loader import LoadedBatch, Loader
from biggan_scale.data.order import GlobalOrder
from biggan_scale.data.packaged import open_dataset
from biggan_scale.data.remote import RemoteDataset, RemoteOptions, refuse_small_cache
from biggan_scale.data.streaming import PREFIX as STREAM
from biggan_scale.data.streaming import Stream, StreamLoader, open_stream
from biggan_scale.data.transfer import Transfer
from biggan_scale.dist import process_group
from biggan_scale.engine.handover import handed_over
from biggan_scale.engine.loop import Engine
from biggan_scale.games.base import Batch


def open_checked(config: RunConfig, key: str = "data.path") -> Dataset | Stream:
    """The data set, or the stream, of a config.

    Args:
        config: the run.
        key: where data.path was given, for messages.

    Raises:
        DataError: missing or damaged. ConfigError: its images are not what the config says.
    """
    data, spec = config.data, config.image_spec()
    if data.path.startswith(STREAM):
        transfer = Transfer(data.tries, data.timeout_s)
        return open_stream(data.path.removeprefix(STREAM), spec.height, spec.width, spec.channels, spec.num_classes, transfer)
    options = RemoteOptions(data.cache_gb, data.range_reads_gb, data.tries, data.timeout_s)
    dataset = open_dataset(data.path, resolution=data.resolution, channels=data.channels, remote=options)
    if isinstance(dataset, RemoteDataset):
        refuse_small_cache(dataset, data.window)
    have, want = (dataset.height, dataset.width, dataset.channels), (spec.height, spec.width, spec.channels)
    if have != want:
        raise ConfigError(
            f"{key} {data.path}: images are {_size(have)}, the config says {_size(want)}; change data.resolution or data.channels"
        )
    if spec.num_classes and spec.num_classes != dataset.num_classes:
        raise ConfigError(
            f"{key} {data.path}: has {dataset.num_classes} classes, the config says data.num_classes={spec.num_classes}; "
            f"allowed: {dataset.num_classes}, or 0 to train without labels"
        )
    return dataset


class Feed:
    """This rank's batches, from the engine's clock on.

    It looks ahead with worker processes but holds no state: the engine's clock is the position.
    """

    def __init__(self, config: RunConfig, dataset: Dataset | Stream, engine: Engine) -> None:
        self._engine = engine
        self._dtype = engine.precision.dtype
        self._conditional = config.data.num_classes > 0
        self._loader = _stream_loader(config, dataset, engine) if isinstance(dataset, Stream) else _loader(config, dataset)
        self._batches = self._to_device(engine.ranges())

    def next_round(self) -> list[list[Batch]]:
        """The coming round's global batches, each as this rank's micro-batches."""
        return [[next(self._batches) for _ in range(self._engine.num_micro)] for _ in range(self._engine.batches_per_round)]

    @property
    def num_bad(self) -> int:
        """Bad samples that this rank has met since it started, and others have stood for."""
        return self._loader.bad.num

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        self._loader.close()

    def _to_device(self, ranges: Iterator[tuple[int, int]]) -> Iterator[Batch]:
        layout = torch.channels_last if self._engine.config.channels_last else torch.contiguous_format
        for loaded, (images, *labels) in handed_over(self._loader.ranges(ranges), self._needed, self._engine.device):
            pixels = images.to(self._dtype).div_(127.5).sub_(1)  # (B, C, H, W) uint8 -> float in [-1, 1]
            yield Batch(pixels.contiguous(memory_format=layout), labels[0] if labels else None, tuple(loaded.positions.tolist()))

    def _needed(self, loaded: LoadedBatch) -> tuple[Tensor, ...]:
        return (loaded.images, loaded.labels) if self._conditional and loaded.labels is not None else (loaded.images,)


def first_images(config: RunConfig, dataset: Dataset, num: int) -> Tensor:
    """(num, C, H, W) uint8: the images at the first positions of the stream, never mirrored. Bad ones are told by who trains on them."""
    order = GlobalOrder(dataset.shard_sizes, config.data_seed, config.data.window)
    share = config.data.max_bad_share
    loader = Loader(dataset, order, workers=0, flip=False, seed=config.data_seed, max_bad_share=share, bad_told=False)
    try:
        return next(loader.ranges([(0, num)])).images
    finally:
        loader.close()


def _loader(config: RunConfig, dataset: Dataset) -> Loader:
    data, seed = config.data, config.data_seed
    order = GlobalOrder(dataset.shard_sizes, seed, data.window)
    return Loader(dataset, order, workers=data.workers, flip=data.flip, seed=seed, max_bad_share=data.max_bad_share)


def _stream_loader(config: RunConfig, stream: Stream, engine: Engine) -> StreamLoader:
    if process_group.rank() == 0:
        nimg = engine.clock.nimg
        again = f"; it begins anew at {nimg / 1000:.3f} kimg, which does not repeat what an undisturbed run would do" if nimg else ""
        print(f"data.path {STREAM}: statistical: samples are drawn, not counted through{again}", file=sys.stderr, flush=True)
    data = config.data
    return StreamLoader(stream, seed=config.data_seed, rank=process_group.rank(), flip=data.flip, max_bad_share=data.max_bad_share)


def _size(shape: tuple[int, int, int]) -> str:
    return f"{shape[0]}x{shape[1]} with {shape[2]} channel{'s' * (shape[2] != 1)}"
