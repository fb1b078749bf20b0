"""Run directories with real checkpoints, made without data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from biggan_scale.config import RunConfig, to_tree
from biggan_scale.engine import checkpoint
from biggan_scale.engine.loop import Engine
from support.tiny import play

ABOUT = {"time": "2026-01-01T00:00:00+0000", "version": "0.0.test", "torch": "x", "world": 1, "data_fingerprint": "f" * 64}


def make_run(folder: Path, config: RunConfig, *, checkpoints: int = 1, rounds: int = 1) -> Engine:
    """Train that many rounds up to each checkpoint; the engine is at the last one."""
    engine = Engine(config, torch.device("cpu"))
    for _ in range(checkpoints):
        play(engine, rounds)
        save(folder, engine)
    return engine


def save(folder: Path, engine: Engine, **about: Any) -> Path:
    return checkpoint.save(folder / "checkpoints", engine.state_dict(), {**ABOUT, "config": to_tree(engine.config), **about})


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
