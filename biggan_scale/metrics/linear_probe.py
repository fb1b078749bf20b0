"""Linear probe: how well the classes of real images can be told from their features by a linear classifier.

The features are normalised as by a batch norm without gain and bias, then a multinomial logistic regression is fitted:

    minimise over W, b:    mean over i of -log softmax(W x_i + b)[y_i]  +  decay / 2 |W|^2

The problem is convex, and solved to its minimum (L-BFGS, float64): no learning rate, no schedule, no seed. BigBiGAN's protocol is
a batch norm and a linear layer trained by Adam with a searched learning rate (Donahue and Simonyan 2019, 1907.02544), which
approaches the same minimum with decay 0. The paper's best figures are of normalised features x in the form [relu(x), relu(-x)], a
"concatenated ReLU": `rectified`. All features are held in memory: this is for 10^5 samples rather than 10^6.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from biggan_scale.metrics.distances import Tick, no_tick

DECAY = 1e-4  # keeps W finite where the classes can be separated without error
MAX_ITERATIONS = 500
GRADIENT_TOLERANCE = 1e-6  # of every component: the loss is then right to many more digits than an accuracy shows
SMALLEST_DEVIATION = 1e-6  # of a feature, relative to its size: below it is constant but for rounding, which must not be blown up


class Probe(NamedTuple):
    """A fitted classifier. mean, scale: (D,) of the training features; weight: (K, D); bias: (K,); all float64."""

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """(N, K) of (N, D) features."""
        return (features.to(torch.float64) - self.mean) * self.scale @ self.weight.T + self.bias

    def accuracy(self, features: Tensor, labels: Tensor) -> float:
        return float((self.logits(features).argmax(1) == labels).to(torch.float64).mean())


def rectified(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """(N, D) and (M, D) features, normalised by the first, to (N, 2 D) and (M, 2 D): their positive and their negative parts."""
    mean, scale = _normalisation(train.to(torch.float64))
    first, second = ((features.to(torch.float64) - mean) * scale for features in (train, test))
    return torch.cat([first.relu(), (-first).relu()], dim=1), torch.cat([second.relu(), (-second).relu()], dim=1)


def fit(features: Tensor, labels: Tensor, num_classes: int, decay: float = DECAY, tick: Tick = no_tick) -> Probe:
    """The minimum for (N, D) features and (N,) labels in 0 .. num_classes - 1."""
    features = features.to(torch.float64)
    mean, scale = _normalisation(features)
    normalised = (features - mean) * scale
    parameters = torch.zeros(num_classes, features.shape[1] + 1, dtype=torch.float64, requires_grad=True)  # W and b side by side
    solver = torch.optim.LBFGS(
        [parameters],
        max_iter=MAX_ITERATIONS,
        tolerance_grad=GRADIENT_TOLERANCE,
        tolerance_change=0,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        tick()
        solver.zero_grad()
        weight, bias = parameters[:, :-1], parameters[:, -1]
        loss = functional.cross_entropy(normalised @ weight.T + bias, labels) + decay / 2 * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        solver.step(closure)
    solution = parameters.detach()
    return Probe(mean, scale, solution[:, :-1], solution[:, -1])


def _normalisation(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and 1 / deviation of each of the (N, D) float64 features; the latter 0 where a feature is constant."""
    deviation = features.std(0, correction=0)
    is_constant = deviation <= SMALLEST_DEVIATION * features.abs().amax(0)
    return features.mean(0), torch.where(is_constant, 0, 1 / deviation)
