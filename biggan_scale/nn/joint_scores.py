"""Scores of a pair (x, z) from the image's features: BigBiGAN's discriminator behind its convolutions (1907.02544, figure 1).

    h = H(z),    j = J(f, h),    s_x = linear(f),    s_z = linear(h),    s_xz = linear(j)

f is what the convolutional F makes of x; H and J are residual perceptrons. BiGAN has s_xz alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from biggan_scale.nn.residual_mlp import ResidualMlp


class JointScores(nn.Module):
    """
    Args:
        num_features: length of f.
        latent_dim: length of z.
        width, num_blocks: of H and J; blocks of two layers.
        scores: which there are, of "xz", "x" and "z"; "xz" always.
    """

    def __init__(self, num_features: int, latent_dim: int, width: int, num_blocks: int, scores: Sequence[str]) -> None:
        super().__init__()
        assert "xz" in scores, "without it nothing ties x to z"
        self.H = ResidualMlp(latent_dim, width, num_blocks)
        self.J = ResidualMlp(num_features + width, width, num_blocks)
        widths = {"xz": width, "x": num_features, "z": width}
        self.heads = nn.ModuleDict({name: nn.Linear(widths[name], 1) for name in scores})

    def forward(self, f: Tensor, z: Tensor) -> dict[str, Tensor]:
        """f: (B, num_features); z: (B, latent_dim). Returns a (B,) score by name, before any sigmoid."""
        h = self.H(z)
        seen = {"x": f, "z": h, "xz": self.J(torch.cat([f, h], dim=1))}
        return {name: head(seen[name]).squeeze(1) for name, head in self.heads.items()}
