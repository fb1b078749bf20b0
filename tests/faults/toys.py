"""A run of a second for faults to strike: fully connected networks on 8x8 px, a checkpoint every other round."""

from __future__ import annotations

from pathlib import Path

from support.toys import toy_page

ROUNDS = 40
IMAGES = 16  # in a round
SETTINGS = (
    f"until={ROUNDS} rounds",
    "checkpoint.every=2 rounds",
    "log.every=1 rounds",
    "health.every=null",
    "game.prior.dim=4",
    "game.generator.width=16",
    "game.discriminator.width=16",
)


def page(run_dir: Path, data: Path) -> tuple[str, ...]:
    """The arguments of `biggan-scale train`."""
    return (toy_page(run_dir, data), *SETTINGS)
