"""Writes a data set as others read it: a folder of image files, or the zip of NVIDIA's StyleGAN programs.

Both get `dataset.json` with the labels, [[name, label], ...], and `classes.json` with the names of the classes, so that packing
them gives the same labels again. Files are copied as they are stored; raw pixels become PNG without compression.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from biggan_scale.config.errors import ConfigError, DataError, EnvironmentFault
from biggan_scale.data.index import Dataset
from biggan_scale.data.reader import Reader
from biggan_scale.data.stored import stored_samples
from biggan_scale.data.tar import is_unsafe

Progress = Callable[[int, int], None]


def export_zip(dataset: Dataset, out: Path, progress: Progress) -> int:
    """A zip with images 00000/img00000000.png, ... Returns their number."""
    if out.exists():
        raise ConfigError(f"{out}: exists; give --out a new name")
    temporary = out.with_name(out.name + ".tmp")
    labels = []
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for number, (_, extension, data, label) in enumerate(_images(dataset)):
                name = f"{number // 1000:05d}/img{number:08d}.{extension}"
                archive.writestr(zipfile.ZipInfo(name), data)
                labels.append((name, label))
                progress(number + 1, dataset.num_samples)
            for name, content in _describe(dataset, labels).items():
                archive.writestr(zipfile.ZipInfo(name), content)
        os.replace(temporary, out)
    except OSError as error:
        raise EnvironmentFault(f"{error.filename or out}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return len(labels)


def export_folder(dataset: Dataset, out: Path, progress: Progress) -> int:
    """A folder with one folder per class, files named by their keys. Returns their number."""
    for name in dataset.classes:
        if is_unsafe(name) or "/" in name or name in ("", "."):
            raise ConfigError(f"the class {name!r} cannot be a folder's name; export to a .zip")
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise ConfigError(f"{out}: is not empty; give --out a new or empty directory")
        labels = []
        for number, (key, extension, data, label) in enumerate(_images(dataset)):
            name = _file_name(dataset, key, extension, label)
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "xb") as file:
                file.write(data)
            labels.append((name, label))
            progress(number + 1, dataset.num_samples)
        for name, content in _describe(dataset, labels).items():
            (out / name).write_text(content)
    except FileExistsError as error:
        raise DataError(f"{error.filename}: two samples would have this name; export to a .zip") from error
    except OSError as error:
        raise EnvironmentFault(f"{error.filename or out}: {error.strerror}") from error
    return len(labels)


def _images(dataset: Dataset) -> Iterator[tuple[str, str, bytes, int]]:
    """Key, extension, content and label of each image, as a file that others can read."""
    reader = Reader(dataset)
    pixels = np.empty((dataset.height, dataset.width, dataset.channels), np.uint8)
    for sample in stored_samples(dataset):
        if sample.extension == "npy":
            label = reader.read_pixels(sample.shard, sample.place, pixels)
            yield sample.key, "png", _png(pixels), label
        else:
            data, label = reader.read(sample.shard, sample.place)
            yield sample.key, sample.extension, data, label
    reader.close()


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def _file_name(dataset: Dataset, key: str, extension: str, label: int) -> str:
    """Under the folder of its class, which many keys begin with already."""
    if is_unsafe(key):
        raise DataError(f"{dataset.shown('')}: unsafe key {key!r}; {dataset.how_to_check}")
    if not dataset.classes:
        return f"{key}.{extension}"
    folder = dataset.classes[label]
    return f"{folder}/{key.removeprefix(folder + '/')}.{extension}"


def _describe(dataset: Dataset, labels: list[tuple[str, int]]) -> dict[str, str]:
    if not dataset.classes:
        return {"dataset.json": json.dumps({"labels": None})}
    return {"dataset.json": json.dumps({"labels": labels}), "classes.json": json.dumps(list(dataset.classes))}
