"""From the networks' numbers to pictures: floats to pixels, pixels on one sheet, a sheet to a file."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] -> {0, ..., 255}, on the CPU."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()


def tile(images: Tensor, columns: int) -> Tensor:
    """(N, C, H, W) row by row to (C, rows H, columns W); missing cells are black."""
    rows = _filled(images, columns).unflatten(0, (-1, columns))  # (R, K, C, H, W)
    return rows.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)  # (C, R H, K W)


def tile_in_turn(images: Tensor, rows: int) -> Tensor:
    """(N, C, H, W) to (C, rows H, columns W), image i in row i % rows: classes that take turns get a row each."""
    by_row = _filled(images, rows).unflatten(0, (-1, rows)).transpose(0, 1)  # (R, K, C, H, W)
    return tile(by_row.flatten(0, 1), by_row.shape[1])


def save_png(pixels: Tensor, path: Path | BytesIO) -> None:
    """(C, H, W) uint8 with C of 1, 3 or 4."""
    array = pixels.permute(1, 2, 0).squeeze(2) if pixels.shape[0] == 1 else pixels.permute(1, 2, 0)
    Image.fromarray(array.contiguous().numpy()).save(path, format="PNG")


def _filled(images: Tensor, multiple: int) -> Tensor:
    missing = -len(images) % multiple
    return torch.cat([images, images.new_zeros(missing, *images.shape[1:])])
