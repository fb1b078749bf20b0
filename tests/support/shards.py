"""Small folders of random images, and shards made of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from biggan_scale.data.index import Dataset
from biggan_scale.data.pack import PackOptions, pack
from biggan_scale.data.sources import FolderSource

CLASSES = ("ant", "bee", "cat")


@dataclass(frozen=True)
class Made:
    """A data set and what is in it, by key: pixels (H, W, C) and label."""

    dataset: Dataset
    folder: Path
    pixels: dict[str, np.ndarray]
    labels: dict[str, int]


def make_folder(folder: Path, num: int, channels: int = 3) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """`num` PNGs of 12x12 in three class folders; returns their pixels and labels."""
    random = np.random.RandomState(0)
    pixels, labels = {}, {}
    for number in range(num):
        label = number % len(CLASSES)
        key = f"{CLASSES[label]}/image {number:04d} é"
        pixels[key], labels[key] = random.randint(0, 256, (12, 12, channels)).astype(np.uint8), label
        path = folder / f"{key}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[key] if channels == 3 else pixels[key][:, :, 0]).save(path)
    return pixels, labels


def make_shards(place: Path, num: int = 50, channels: int = 3, **options: Any) -> Made:
    """A folder of images in `place`, packed in shards of twelve."""
    pixels, labels = make_folder(place / "images", num, channels=channels)
    packed = pack(FolderSource(place / "images"), place / "shards", PackOptions(**{"shard_samples": 12, **options}), workers=0)
    return Made(Dataset.open(packed.dataset.path), place / "images", pixels, labels)
