"""The packages that a run's Python has, as `pip freeze` writes them: RUN/launch/packages.txt, and what changes from attempt to attempt."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path


def keep(path: Path) -> list[str]:
    """Write the list to `path`, and return how it differs from the one that was there: "torch==2.6.0 -> 2.7.0"."""
    now = installed()
    try:
        before = dict(line.split("==", 1) for line in path.read_text().splitlines())
    except FileNotFoundError:
        before = now
    if now != before or not path.exists():
        path.write_text("".join(f"{name}=={version}\n" for name, version in now.items()))
    names = sorted({*before, *now})
    return [f"{name}=={before.get(name)} -> {now.get(name)}" for name in names if before.get(name) != now.get(name)]


def installed() -> dict[str, str]:
    """Name -> version, by name; of a name found twice, the one that is imported."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():  # in the order of sys.path
        name = distribution.metadata["Name"]
        if name:  # a half-removed package has none
            found.setdefault(name.lower(), distribution.version)
    return dict(sorted(found.items()))
