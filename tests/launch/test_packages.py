"""What is kept of the packages that a run's Python has."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from launch import packages


def test_every_package_is_listed_as_pip_freeze_does(tmp_path: Path) -> None:
    assert packages.keep(tmp_path / "packages.txt") == []
    lines = (tmp_path / "packages.txt").read_text().splitlines()
    names = [line.partition("==")[0] for line in lines]
    assert names == sorted(set(names))
    assert f"torch=={importlib.metadata.version('torch')}" in lines
    assert f"numpy=={importlib.metadata.version('numpy')}" in lines


def test_what_changes_between_attempts_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "packages.txt"
    packages.keep(path)
    torch = f"torch=={importlib.metadata.version('torch')}"
    path.write_text(path.read_text().replace(f"{torch}\n", "torch==1.0\ngone==3\n"))
    assert packages.keep(path) == ["gone==3 -> None", f"torch==1.0 -> {torch.removeprefix('torch==')}"]
    assert packages.keep(path) == []
