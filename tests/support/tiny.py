"""Small configurations and made-up data for tests that are not about data."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from biggan_scale.config import Part, RunConfig, load_config
from biggan_scale.engine.checkpoint import TrainingState
from biggan_scale.engine.loop import Engine
from biggan_scale.games.base import Batch

PAGE = """
run_dir: RUN_DIR
until: 100 rounds
batch_size: 8
precision: fp64
game:
  type: gan
  loss: hinge
  d_steps: 2
  orthogonal: 1e-4
  generator: {type: biggan, channels: 4, shared_dim: 8}
  discriminator: {type: biggan, channels: 4}
  prior: {type: normal, dim: 16}
data: {path: nowhere, resolution: 32, num_classes: 5}
optim:
  D: {lr: 4e-4, betas: [0.0, 0.999], eps: 1e-8}
  G: {lr: 1e-4, betas: [0.0, 0.999], eps: 1e-8}
ema: {decay: 0.9}
"""


def tiny_config(*overrides: str, run_dir: str | Path = "nowhere") -> RunConfig:
    """A small conditional BigGAN at 32 px, in float64."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.yaml"
        page.write_text(PAGE.replace("RUN_DIR", str(run_dir)))
        return load_config(str(page), overrides).config


def shrink(config: RunConfig, **changes: Any) -> RunConfig:
    """The same page with the smallest networks: every component's own TINY."""
    return dataclasses.replace(config, game=_shrunk(config.game), **changes)


def _shrunk(part: Part) -> Part:
    inner = {f.name: getattr(part.config, f.name) for f in dataclasses.fields(part.config)}
    small = {name: _shrunk(value) for name, value in inner.items() if isinstance(value, Part)}
    return dataclasses.replace(part, config=dataclasses.replace(part.config, **{**small, **type(part.config).TINY}))


def made_up_batch(config: RunConfig, start: int, stop: int, dtype: torch.dtype) -> Batch:
    """Samples that depend on their position only, like real ones."""
    spec = config.image_spec()
    images, labels = [], []
    for position in range(start, stop):
        generator = torch.Generator().manual_seed(position)
        images.append(torch.rand(spec.channels, spec.height, spec.width, generator=generator) * 2 - 1)
        labels.append(int(torch.randint(max(spec.num_classes, 1), (), generator=generator)))
    return Batch(torch.stack(images).to(dtype), torch.tensor(labels) if spec.num_classes else None, tuple(range(start, stop)))


def play(engine: Engine, rounds: int) -> list[dict[str, Tensor]]:
    """Play rounds on made-up data."""
    history = []
    for _ in range(rounds):
        ranges = engine.ranges()
        batches = [
            [made_up_batch(engine.config, *next(ranges), engine.precision.dtype) for _ in range(engine.num_micro)]
            for _ in range(engine.batches_per_round)
        ]
        history.append(engine.round(batches))
    return history


def played(config: RunConfig, rounds: int) -> TrainingState:
    """The state after so many rounds of a fresh run."""
    engine = Engine(config, torch.device("cpu"))
    play(engine, rounds)
    return engine.state_dict()


def tensors(state: TrainingState) -> dict[str, Tensor]:
    """All tensors of a state, flat."""
    parts = {"model": state.model, "ema": state.ema, "optim": state.optim}
    return {f"{part}/{name}": tensor for part, named in parts.items() for name, tensor in named.items()}


def assert_same(a: TrainingState, b: TrainingState, atol: float = 0.0) -> None:
    """Equal states, bit for bit unless a tolerance is given."""
    mine, theirs = tensors(a), tensors(b)
    assert mine.keys() == theirs.keys()
    for name in mine:
        if atol:
            torch.testing.assert_close(mine[name], theirs[name], rtol=0, atol=atol, msg=lambda m, name=name: f"{name}: {m}")
        else:
            assert torch.equal(mine[name], theirs[name]), name
    assert a.state == b.state
