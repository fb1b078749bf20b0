"""Pictures to look at while training: the same noise every time, so that only the weights change.

The sheet has a row per class or code (or eight rows where there are none), then rows that walk from one latent to another.
Where the game has an encoder, a second sheet shows real images, always the same, above their reconstructions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from biggan_scale.config import SnapshotConfig
from biggan_scale.data.pixels import tile, to_uint8
from biggan_scale.dist.seeds import Noise
from biggan_scale.games.base import Draw, Game

ROWS = 8  # where there are neither classes nor codes
CHUNK = 32  # images generated at once


@torch.no_grad()
def sheet(game: Game, config: SnapshotConfig, seed: int, device: torch.device, dtype: torch.dtype, check: Callable[[], object]) -> Tensor:
    """(C, H, W) uint8: the grid of samples over the interpolations, from the weights the game holds now, in eval mode.

    `check` is called before each chunk, and may raise to break off.
    """
    rows = min(game.num_rows(), config.rows) or ROWS
    columns = config.columns
    labels = torch.arange(rows, device=device).repeat_interleave(columns) if game.spec.num_classes else None
    noise = Noise(seed, range(rows * columns), "snapshot", device, dtype)
    draw = game.arrange(game.latents(noise, labels, config.truncation), columns)
    draws = [draw]
    for i in range(config.interpolations):
        a, b = _pick(draw, i * columns % (rows * columns)), _pick(draw, (i * columns + 1) % (rows * columns))
        draws += [game.interpolate(a, b, t / max(columns - 1, 1)) for t in range(columns)]
    everything = {name: torch.cat([d[name] for d in draws]) for name in draw}
    parts = []
    for i in range(0, len(next(iter(everything.values()))), CHUNK):
        check()
        parts.append(game.generate({name: t[i : i + CHUNK] for name, t in everything.items()}))
    return tile(to_uint8(torch.cat(parts)), columns)


@torch.no_grad()
def reconstructions(game: Game, images: Tensor, columns: int, check: Callable[[], object]) -> Tensor:
    """(C, H, W) uint8: real images (B, C, H, W) in rows, and under each row its reconstructions. `check` as in `sheet`."""
    rows: list[Tensor] = []
    for real in images.split(columns):
        check()
        rows += game.reconstruct(real)
    return tile(to_uint8(torch.cat(rows)), columns)


def _pick(draw: Draw, index: int) -> Draw:
    return {name: tensor[index : index + 1] for name, tensor in draw.items()}
