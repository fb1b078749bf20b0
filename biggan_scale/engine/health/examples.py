"""The images a run's health is measured on: the first of the data's order, the same at every measurement and after every restart."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from biggan_scale.config import ConfigError, RunConfig
from biggan_scale.data.index import Dataset
from biggan_scale.data.loader import Loader
from biggan_scale.data.order import GlobalOrder
from biggan_scale.data.streaming import Stream, StreamLoader
from biggan_scale.engine.feed import open_checked

MOST_SHARDS = 4  # that the images come from: enough to mix, few to fetch where the data is remote


@dataclass(frozen=True)
class Examples:
    """images: (N, C, H, W) uint8; labels: (N,) int64, None without classes. On the CPU."""

    images: Tensor
    labels: Tensor | None

    def floats(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """(N, C, H, W) in [-1, 1], as the engine feeds them."""
        return self.images.to(device, dtype).div_(127.5).sub_(1)


def read_examples(config: RunConfig, dataset: Dataset | Stream, *, bad_told: bool = False) -> Examples:
    """The first `health.num` samples, or all where there are fewer.

    Args:
        bad_told: whether bad samples are told; those of the training data are where they are trained on.

    Raises: DataError.
    """
    data, seed, num = config.data, config.data_seed, config.health.num
    loader: Loader | StreamLoader
    if isinstance(dataset, Stream):
        loader = StreamLoader(dataset, seed=seed, rank=0, flip=False, max_bad_share=data.max_bad_share, bad_told=bad_told)
    else:
        order = GlobalOrder(dataset.shard_sizes, seed, min(data.window, MOST_SHARDS))
        loader = Loader(dataset, order, workers=0, flip=False, seed=seed, max_bad_share=data.max_bad_share, bad_told=bad_told)
        num = min(num, dataset.num_samples)
    try:
        loaded = next(iter(loader.ranges([(0, num)])))
    finally:
        loader.close()
    return Examples(loaded.images, loaded.labels if data.num_classes else None)


def read_held_out(config: RunConfig, trained_on: Dataset | Stream) -> Examples | None:
    """Those of `health.held_out`, if it is given.

    Raises:
        ConfigError: they are the training data, or not of its size or classes. DataError.
    """
    path = config.health.held_out
    if path is None:
        return None
    other = dataclasses.replace(config, data=dataclasses.replace(config.data, path=path))
    dataset = open_checked(other, "health.held_out")
    if dataset.fingerprint == trained_on.fingerprint:
        raise ConfigError(f"health.held_out {path}: is the data trained on; give another part, say of `biggan-data split`, or null")
    return read_examples(other, dataset, bad_told=True)
