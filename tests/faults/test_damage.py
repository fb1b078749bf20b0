"""Damage to a checkpoint's bytes: whichever bit flips and wherever a file is cut, it is noticed, and the one before is used."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from biggan_scale.engine import checkpoint
from support.runs import make_run
from support.tiny import assert_same, tiny_config

FILES = (*checkpoint.STATE_FILES, checkpoint.MANIFEST)
FLIPS, CUTS = 100, 40  # of each file


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two checkpoints."""
    folder = tmp_path_factory.mktemp("run")
    make_run(folder, tiny_config(run_dir=folder), checkpoints=2)
    return folder / "checkpoints"


def flipped(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


@contextmanager
def damaged(path: Path, content: bytes) -> Iterator[None]:
    """The file with other content; afterwards it is as before, and its checkpoint has its name again."""
    before, folder = path.read_bytes(), path.parent
    write(path, content)
    try:
        yield
    finally:
        aside = folder.with_name(f"BAD_{folder.name}")
        if aside.exists():
            aside.rename(folder)
        write(path, before)


def write(path: Path, content: bytes) -> None:
    """In place: ext4 would flush a file that is emptied first."""
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(("harm", "times"), [(flipped, FLIPS), (cut, CUTS)], ids=["flips", "cuts"])
def test_every_damage_is_noticed_and_the_one_before_is_used(
    run: Path, name: str, harm: Callable[[bytes, random.Random], bytes], times: int
) -> None:
    newer, older = checkpoint.checkpoints(run)
    expected, chance = checkpoint.load(older), random.Random(name)
    intact = (newer / name).read_bytes()
    for _ in range(times):
        warnings: list[str] = []
        with damaged(newer / name, harm(intact, chance)):
            assert checkpoint.newest_valid(run, warnings.append) == older
            assert len(warnings) == 1 and name in warnings[0] and "\n" not in warnings[0]
    assert_same(checkpoint.load(older), expected)
    assert checkpoint.newest_valid(run, warnings.append) == newer


def test_every_bit_of_the_manifest_counts(run: Path) -> None:
    newer, _ = checkpoint.checkpoints(run)
    manifest = newer / checkpoint.MANIFEST
    intact, unnoticed = manifest.read_bytes(), []
    for at in range(len(intact)):
        for bit in range(8):
            write(manifest, intact[:at] + bytes([intact[at] ^ 1 << bit]) + intact[at + 1 :])
            if checkpoint.problem_of(newer, again=False) is None:
                unnoticed.append((at, bit))
    write(manifest, intact)
    assert unnoticed == []
