"""The w of a model that has one: a game of the StyleGAN line, whose generator maps z to w and draws from a w for each layer."""

from __future__ import annotations

import torch
from torch import Tensor

from biggan_scale.config import ConfigError
from biggan_scale.export.load import Model
from biggan_scale.games.base import Draw
from biggan_scale.games.stylegan2 import Stylegan2
from biggan_scale.nn.equalized import EqualizedLinear


def has_styles(model: Model) -> bool:
    return isinstance(model.game, Stylegan2)


def style_game(model: Model, wanted: str) -> Stylegan2:
    """The game, of which pictures can be edited in w.

    Args:
        wanted: who asks, for the error: "--sheet mixing".

    Raises:
        ConfigError: it has no w.
    """
    if not isinstance(model.game, Stylegan2):
        raise ConfigError(f"{wanted} needs a w, which a {model.config.game.type} has not; take a model of game stylegan2")
    return model.game


def images_of(model: Model, ws: Tensor) -> Tensor:
    """(N, C, H, W) of ws (N, num_ws, w_dim), with the constant noise images."""
    synthesis = style_game(model, "w").G.synthesis
    return model.images(lambda draw: synthesis(draw["ws"]), {"ws": ws})


@torch.no_grad()
def ws_of(model: Model, latents: Draw) -> Tensor:
    """(N, num_ws, w_dim), truncated as the latents say."""
    return style_game(model, "w").ws(latents)


def style_weights(game: Stylegan2) -> Tensor:
    """(rows, w_dim): the maps from w to the styles of all layers, one below the other: every linear layer of the synthesis."""
    layers = [module for module in game.G.synthesis.modules() if isinstance(module, EqualizedLinear)]
    return torch.cat([layer.weight * layer.scale for layer in layers])
