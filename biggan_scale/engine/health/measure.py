"""What is measured of a game: numbers, no judgement.

diversity, modes            generated images against as many real ones of the same classes (metrics/diversity.py)
score_real, score_fake, score_held_out      D's mean answers, before any sigmoid
score_spread                standard deviation of the answers to real and generated images together
separation                  chance that D scores a real image above a generated one (metrics/separation.py)
memory                      the same of a training image and a held-out one
grad_norm/MOVE              median over the last rounds of the gradient's norm, of each player's first move
grad_ratio/MOVE             of the first player's over this one's
sigma/LAYER                 the leading singular values of every weight of two or more dimensions, as it is stored: before
                            any spectral normalisation
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from biggan_scale.dist.seeds import Noise
from biggan_scale.engine.health.examples import Examples
from biggan_scale.engine.loop import Engine
from biggan_scale.engine.untouched import untouched
from biggan_scale.games.base import Clock, Draw, Game
from biggan_scale.metrics.diversity import compared
from biggan_scale.metrics.separation import separation
from biggan_scale.nn.singular_values import leading_singular_values

CHUNK = 32  # images that pass a network at once
NUM_SIGMAS = 3


def measure_samples(engine: Engine, real: Examples, held_out: Examples | None) -> dict[str, float]:
    """Diversity of what the game generates, and D's answers. Leaves the game as it was.

    The noise is the same every time, so that only the weights change; the labels are the real images'.
    """
    game, device, dtype = engine.game, engine.device, engine.precision.dtype
    noise = Noise(engine.config.seed, range(len(real.images)), "health", device, dtype)
    labels = None if real.labels is None else real.labels.to(device)
    with untouched(game), engine.precision.autocast():
        fake = _generate(game, game.latents(noise, labels))
        diversity, modes = compared(fake, real.floats(device, dtype), real.labels)
        found = {"diversity": diversity, "modes": modes}
        real_scores = _scores(game, real.floats(device, dtype), labels)
        fake_scores = _scores(game, fake, labels)
        if real_scores is None or fake_scores is None:
            return found
        found |= {"score_real": float(real_scores.mean()), "score_fake": float(fake_scores.mean())}
        found["score_spread"] = float(torch.cat([real_scores, fake_scores]).std())
        found["separation"] = separation(real_scores, fake_scores)
        if held_out is not None:
            other_labels = None if held_out.labels is None else held_out.labels.to(device)
            other_scores = _scores(game, held_out.floats(device, dtype), other_labels)
            assert other_scores is not None, "the game has just judged other images"
            found |= {"score_held_out": float(other_scores.mean()), "memory": separation(real_scores, other_scores)}
    return found


def measure_gradients(game: Game, clock: Clock, rounds: Iterable[Mapping[str, Tensor]]) -> dict[str, float]:
    """Medians over these rounds' stats. A norm that is not finite is left out: fp16 meets some in normal operation."""
    first_moves: dict[str, str] = {}
    for move in game.moves(clock):
        first_moves.setdefault(move.player, move.name)
    norms: dict[str, float] = {}
    for name in first_moves.values():
        values = [float(stats[f"{name}/grad_norm"]) for stats in rounds if f"{name}/grad_norm" in stats]
        finite = [value for value in values if math.isfinite(value)]
        if finite:
            norms[name] = statistics.median(finite)
    first, *others = norms or {"": 0.0}
    ratios = {f"grad_ratio/{other}": norms[first] / norms[other] for other in others if norms[other]}
    return {f"grad_norm/{name}": norm for name, norm in norms.items()} | ratios


def measure_weights(game: Game) -> dict[str, list[float]]:
    """layer -> its leading singular values, descending."""
    weights = {name: parameter for name, parameter in game.named_parameters() if parameter.ndim >= 2}
    return {_layer(name): leading_singular_values(weight, NUM_SIGMAS).tolist() for name, weight in weights.items()}


def _generate(game: Game, draw: Draw) -> Tensor:
    starts = range(0, len(next(iter(draw.values()))), CHUNK)
    return torch.cat([game.generate({name: t[i : i + CHUNK] for name, t in draw.items()}) for i in starts])


def _scores(game: Game, images: Tensor, labels: Tensor | None) -> Tensor | None:
    """(N,) on the CPU, in double; None where nobody judges."""
    parts = []
    for i in range(0, len(images), CHUNK):
        part = game.scores(images[i : i + CHUNK], None if labels is None else labels[i : i + CHUNK])
        if part is None:
            return None
        parts.append(part.cpu().double())
    return torch.cat(parts)


def _layer(name: str) -> str:
    """'D.linear.parametrizations.weight.original' and 'D.linear.weight' -> 'D.linear'."""
    return name.replace(".parametrizations.weight.original", "").removesuffix(".weight")
