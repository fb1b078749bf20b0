"""A contact sheet: one row of images for each class, to see at a glance what a data set holds."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from biggan_scale.data.index import NO_LABEL, Dataset
from biggan_scale.data.reader import Reader

GAP_PX = 2


def contact_sheet(dataset: Dataset, rows: int, columns: int) -> Image.Image:
    """The first images of each class in the order in which they are stored, for the first `rows` classes.

    Without classes it is simply the first rows x columns images.
    """
    labels = list(range(min(rows, dataset.num_classes))) if dataset.classes else [NO_LABEL] * rows
    places = _first_of_each(dataset, labels, columns)
    names = [f"{label} {dataset.classes[label]}" for label in labels] if dataset.classes else []
    font = ImageFont.load_default()
    margin = max((int(font.getlength(name)) for name in names), default=0) + 2 * GAP_PX
    step_y, step_x = dataset.height + GAP_PX, dataset.width + GAP_PX
    sheet = Image.new("RGB", (margin + columns * step_x, len(labels) * step_y + GAP_PX), "white")
    draw = ImageDraw.Draw(sheet)
    reader = Reader(dataset)
    pixels = np.empty((dataset.height, dataset.width, dataset.channels), np.uint8)
    for row, of_row in enumerate(places):
        top = GAP_PX + row * step_y
        if names:
            draw.text((GAP_PX, top + dataset.height // 2), names[row], fill="black", font=font, anchor="lm")
        for column, (shard, index) in enumerate(of_row):
            reader.read_pixels(shard, index, pixels)
            image = Image.fromarray(pixels[:, :, 0] if dataset.channels == 1 else pixels)
            sheet.paste(image, (margin + column * step_x, top), mask=image if dataset.channels == 4 else None)
    reader.close()
    return sheet


def _first_of_each(dataset: Dataset, labels: list[int], columns: int) -> list[list[tuple[int, int]]]:
    """For each row the (shard, index) of its images; rows with the same label share its images out."""
    found: dict[int, list[tuple[int, int]]] = {label: [] for label in labels}
    wanted = {label: columns * labels.count(label) for label in labels}
    for shard in range(len(dataset.shards)):
        stored = dataset.load_index(shard)["label"]
        for label, places in found.items():
            missing = wanted[label] - len(places)
            places += [(shard, int(index)) for index in np.flatnonzero(stored == label)[:missing]]
        if all(len(found[label]) == wanted[label] for label in labels):
            break
    return [[found[label].pop(0) for _ in range(min(columns, len(found[label])))] for label in labels]
