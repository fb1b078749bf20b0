"""An encoder's answer: the diagonal Gaussian q(z | x), or a point (Donahue et al. 2017, 1605.09782; Dumoulin et al. 2017, 1606.00704).

    mean = W_m h + b_m,    std = softplus(W_s h + b_s),    z = mean + std * eps,    eps ~ N(0, I)

h are the encoder's features of x, or what further layers make of them. In a deterministic encoder (BiGAN's) std is 0 and z is the mean.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INITIAL_STD_BIAS = -2.0  # std about 0.13 before training: the mean is heard from the start


class Encoder(nn.Module):
    """Base of encoders: subclasses define `features`, and `hidden` where layers follow; they call this constructor first.

    Args:
        num_features: length of the features.
        num_hidden: length of h.
        latent_dim: length of z.
        stochastic: whether there is a standard deviation.
    """

    def __init__(self, num_features: int, num_hidden: int, latent_dim: int, stochastic: bool) -> None:
        super().__init__()
        self.num_features = num_features
        self.latent_dim = latent_dim
        self.mean = nn.Linear(num_hidden, latent_dim)
        self.spread = nn.Linear(num_hidden, latent_dim) if stochastic else None

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] to (B, num_features): what a linear probe reads."""
        raise NotImplementedError

    def hidden(self, features: Tensor) -> Tensor:
        """(B, num_features) to (B, num_hidden): h."""
        return features

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] to (B, latent_dim): the mean of q(z | x), what G turns into a reconstruction."""
        return self.mean(self.hidden(self.features(images)))

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of q(z | x), each (B, latent_dim) and at least float32; the latter 0 if deterministic."""
        h = self.hidden(self.features(images))
        mean = self.mean(h)
        mean = mean.to(torch.promote_types(mean.dtype, torch.float32))
        if self.spread is None:
            return mean, torch.zeros_like(mean)
        return mean, F.softplus(self.spread(h).to(mean.dtype))

    def sample(self, images: Tensor, eps: Tensor | None) -> Tensor:
        """z ~ q(z | x), differentiable in the encoder (reparameterised); eps: (B, latent_dim) of N(0, 1), None if deterministic."""
        mean, std = self.posterior(images)
        return mean if eps is None else mean + std * eps

    def reset_spread(self) -> None:
        """After weights were drawn: begin with a small standard deviation."""
        if self.spread is not None:
            nn.init.constant_(self.spread.bias, INITIAL_STD_BIAS)

    @property
    def is_stochastic(self) -> bool:
        return self.spread is not None
