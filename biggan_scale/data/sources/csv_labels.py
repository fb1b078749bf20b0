"""Labels from a csv file, for any source: a line `name,label` per image, with or without such a header.

A name is that of the image in its source, with or without the extension. Where all labels are whole numbers from 0 they are
taken as they are, else they are the names of the classes, numbered in sorted order. Lines for images that the source does not
have are passed over, so one file may serve several parts of a collection; an image without a line is an error.
"""

from __future__ import annotations

import csv
from pathlib import Path, PurePosixPath

from biggan_scale.config.errors import ConfigError, DataError
from biggan_scale.data.sources.base import Listing, Sample

MAX_CLASSES = 10**6


def label_by_csv(listing: Listing, path: Path) -> Listing:
    """The same samples with the labels of the file."""
    label_of = _read(path)
    texts = []
    for sample in listing.samples:
        text = label_of.get(sample.name, label_of.get(str(PurePosixPath(sample.name).with_suffix(""))))
        if text is None:
            raise DataError(f"{path}: no label for {sample.name!r}; every image of the source needs a line name,label")
        texts.append(text)
    if all(text.isascii() and text.isdigit() for text in texts):
        labels = [int(text) for text in texts]
        if max(labels) >= MAX_CLASSES:
            raise DataError(f"{path}: label {max(labels)}; allowed are whole numbers from 0 to {MAX_CLASSES - 1}, or names")
        classes = tuple(str(label) for label in range(max(labels) + 1))
    else:
        classes = tuple(sorted(set(texts)))
        numbers = {name: number for number, name in enumerate(classes)}
        labels = [numbers[text] for text in texts]
    samples = [Sample(sample.name, label) for sample, label in zip(listing.samples, labels, strict=True)]
    return Listing(samples, classes, listing.num_ignored)


def _read(path: Path) -> dict[str, str]:
    label_of: dict[str, str] = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            for row in csv.reader(file):
                if not row or (not label_of and row == ["name", "label"]):
                    continue
                if len(row) != 2 or not row[1].strip():
                    raise DataError(f"{path}: line {len(label_of) + 1} is {','.join(row)!r}; each must be name,label")
                name, text = row[0], row[1].strip()
                if label_of.setdefault(name, text) != text:
                    raise DataError(f"{path}: {name!r} has two labels, {label_of[name]!r} and {text!r}")
    except FileNotFoundError:
        raise ConfigError(f"--labels {path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as csv: {error}") from error
    return label_of
