"""The random numbers of an augmentation: a row of uniform ones for each image, consumed from the left.

They come from the game's `draw`, so a picture's augmentation depends on (seed, position) alone, and nothing random happens in a pass.
"""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST = 2.0**-25  # half the spacing of uniform draws: keeps normal ones finite


class Draws:
    """Args: uniforms: (B, K) in [0, 1)."""

    def __init__(self, uniforms: Tensor) -> None:
        self.rest = uniforms

    def uniform(self, number: int = 1) -> Tensor:
        """(B, number) in [0, 1)."""
        taken, self.rest = self.rest[:, :number], self.rest[:, number:]
        assert taken.shape[1] == number, "an augmentation takes more draws than it announced"
        return taken

    def normal(self, number: int = 1) -> Tensor:
        """(B, number) of N(0, 1), as quantiles of uniform draws."""
        return torch.special.ndtri(self.uniform(number).clamp(min=SMALLEST))

    def happens(self, probability: Tensor) -> Tensor:
        """(B, 1) bool: true with this probability."""
        return self.uniform() < probability
