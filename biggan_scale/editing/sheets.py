"""`biggan-scale sample --sheet`: pictures of what a latent space holds, from a run, a checkpoint or an export.

truncation     rows: samples. Columns: as trained, then truncated ever more (`TRUNCATIONS`). Any game.
interpolation  rows: ways from one sample to the next but one, in w where there is one, else as the game interpolates. Any game.
mixing         two sets of samples, above and at the left; between them the left one's image with some layers' w of the upper one:
               the first third of the layers (coarse styles), then the second, then the last (fine). Karras et al. 2019,
               1812.04948, section 3.1. Games with a w.
directions     rows: the strongest directions of w (`latent/factorization.py`). Columns: sample 0 moved along it by
               -3 to 3 standard deviations of w in that direction. Games with a w.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from biggan_scale.config import ConfigError
from biggan_scale.data.pixels import save_png, tile, to_uint8
from biggan_scale.dist import process_group
from biggan_scale.editing.styles import has_styles, images_of, style_game, style_weights, ws_of
from biggan_scale.engine.signals import StopFlag
from biggan_scale.export.load import Model
from biggan_scale.export.publish import new_file, probe
from biggan_scale.export.source import Weights, find
from biggan_scale.games.base import Draw
from biggan_scale.latent.factorization import directions
from biggan_scale.latent.interpolation import lerp

TRUNCATIONS = (None, 0.8, 0.6, 0.4, 0.2, 0.1)
STEPS = 8  # of an interpolation
BANDS = 3  # of layers that are mixed
DEVIATIONS = torch.linspace(-3, 3, 7)
NUM_OF_DEVIATION = 1000  # samples of w whose spread is the unit of a step


@dataclass(frozen=True)
class Job:
    """What to draw. num: rows, or samples in each set of a mixing."""

    model: Model
    num: int
    seed: int
    truncation: float | None
    classes: Sequence[int] | None

    def latents(self, first: int, num: int) -> Draw:
        return self.model.latents(range(first, first + num), self.seed, self.truncation, self.classes)


@dataclass(frozen=True)
class Sheet:
    """images: (N, C, H, W) in [-1, 1], row by row."""

    images: Tensor
    columns: int


def sheet_to(
    source: str | Path,
    out: Path,
    kind: str,
    *,
    num: int,
    seed: int = 0,
    truncation: float | None = None,
    classes: Sequence[int] | None = None,
    weights: Weights = "ema",
) -> None:
    """Draw a sheet into FILE.png; of several processes, the first one does.

    Raises:
        CheckpointError: no model is at `source`. ConfigError: it has not what the sheet shows, or an argument makes no sense.
        EnvironmentFault: `out` cannot be written. Preempted: a signal came.
    """
    if out.suffix.lower() != ".png":
        raise ConfigError(f"--out {out}: a sheet is one picture; name a FILE.png")
    with StopFlag() as stop, ExitStack() as stack:
        ranks = process_group.start()
        stack.callback(process_group.stop)
        model = Model(process_group.on_main(lambda: find(source, weights)), ranks.device, stop.check)
        process_group.on_main(lambda: _draw(Job(model, num, seed, truncation, classes), out, kind))


def _draw(job: Job, out: Path, kind: str) -> None:
    job.model.check_request(job.num, job.truncation, job.classes)
    probe(out)
    sheet = SHEETS[kind](job)
    with new_file(out) as temporary:
        save_png(tile(to_uint8(sheet.images), sheet.columns), temporary)


def truncation(job: Job) -> Sheet:
    if job.truncation is not None:
        raise ConfigError("--sheet truncation goes through several by itself; leave --truncation out")
    model, numbers = job.model, range(job.num)
    columns = [model.images(model.game.generate, model.latents(numbers, job.seed, t, job.classes)) for t in TRUNCATIONS]
    return Sheet(torch.stack(columns, dim=1).flatten(0, 1), len(columns))


def interpolation(job: Job) -> Sheet:
    model, both = job.model, job.latents(0, 2 * job.num)
    a, b = ({name: t[part::2] for name, t in both.items()} for part in (0, 1))
    if has_styles(model):
        start, end = ws_of(model, a), ws_of(model, b)
        columns = [images_of(model, lerp(start, end, step / (STEPS - 1))) for step in range(STEPS)]
    else:
        columns = [model.images(model.game.generate, model.game.interpolate(a, b, step / (STEPS - 1))) for step in range(STEPS)]
    return Sheet(torch.stack(columns, dim=1).flatten(0, 1), STEPS)


def mixing(job: Job) -> Sheet:
    model, num = job.model, job.num
    style_game(model, "--sheet mixing")
    ws = ws_of(model, job.latents(0, 2 * num))
    images = images_of(model, ws)
    left, upper = ws[:num], ws[num:]
    num_ws = ws.shape[1]
    rows = [torch.cat([torch.full_like(images[:1], -1), images[num:]])]
    for band in range(BANDS):
        is_taken = torch.zeros(num_ws, 1, dtype=torch.bool, device=ws.device)
        is_taken[round(band * num_ws / BANDS) : round((band + 1) * num_ws / BANDS)] = True
        for i in range(num):
            rows.append(torch.cat([images[i : i + 1], images_of(model, torch.where(is_taken, upper, left[i : i + 1]))]))
    return Sheet(torch.cat(rows), num + 1)


def along_directions(job: Job) -> Sheet:
    model, game = job.model, style_game(job.model, "--sheet directions")
    found = directions(style_weights(game), job.num)
    if len(found.vectors) < job.num:
        raise ConfigError(f"--num {job.num}: w has {len(found.vectors)} directions")
    labels = job.classes[:1] if job.classes else None
    spread = ws_of(model, model.latents(range(NUM_OF_DEVIATION), job.seed, job.truncation, labels))[:, 0] @ found.vectors.T
    ws = ws_of(model, job.latents(0, 1))
    rows = []
    for vector, unit in zip(found.vectors, spread.std(0), strict=True):
        steps = (DEVIATIONS.to(ws) * unit)[:, None, None] * vector  # (7, 1, w_dim)
        rows.append(images_of(model, ws + steps))
    return Sheet(torch.cat(rows), len(DEVIATIONS))


SHEETS: dict[str, Callable[[Job], Sheet]] = {
    "mixing": mixing,
    "truncation": truncation,
    "interpolation": interpolation,
    "directions": along_directions,
}
