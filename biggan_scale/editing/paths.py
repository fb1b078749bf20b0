"""Two images a small step apart on the way from one sample's latent to another's: what path lengths are measured on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from biggan_scale.dist.seeds import Noise
from biggan_scale.editing.styles import has_styles, images_of, ws_of
from biggan_scale.export.load import Model
from biggan_scale.latent.interpolation import lerp
from biggan_scale.metrics.perceptual_path import EPSILON


def space(model: Model) -> str:
    """In what latent the way goes."""
    return "w" if has_styles(model) else "z"


def steps(model: Model, numbers: Sequence[int], seed: int, truncation: float | None) -> tuple[Tensor, Tensor]:
    """The images (B, C, H, W) at t and at t + EPSILON of the ways of these numbers, t uniform.

    Way i goes from sample 2 i to sample 2 i + 1 of the seed, of the first one's class: straight in w where there is one, else as the
    game interpolates.
    """
    a = model.latents([2 * i for i in numbers], seed, truncation, None)
    b = model.latents([2 * i + 1 for i in numbers], seed, truncation, None)
    if "y" in a:
        b["y"] = a["y"]
    t = Noise(seed, numbers, "path", model.device, model.dtype).uniform(1)  # (B, 1)
    if has_styles(model):
        start, end = ws_of(model, a), ws_of(model, b)
        return images_of(model, lerp(start, end, t[:, None])), images_of(model, lerp(start, end, t[:, None] + EPSILON))
    game = model.game
    at, after = (model.images(game.generate, game.interpolate(a, b, torch.as_tensor(where))) for where in (t, t + EPSILON))
    return at, after
