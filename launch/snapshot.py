"""A copy of the code in the run directory, so that a requeued job runs what was submitted and not what has been edited since.

The copy is named by the sha256 of its paths and contents, `launch/code-0123456789ab`, so submitting unchanged code again makes no
second one. In a git checkout it is what git tracks and what it would add; of an installed package all its files.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("biggan_scale", "data_tools", "launch", "configs")
ROOT = Path(__file__).resolve().parents[1]  # the checkout, or site-packages


@dataclass(frozen=True)
class Snapshot:
    """Where the copy is, the digest of it, and the commit it was made at ("" outside of git; "+" for uncommitted changes)."""

    path: Path
    sha256: str
    commit: str


def take(folder: Path) -> Snapshot:
    """Copy the code into `folder`, under the name of its digest."""
    files = source_files()
    digest = sha256_of(ROOT, files)
    target = folder / f"code-{digest[:12]}"
    if not target.exists():
        building = folder / f".{target.name}.{os.getpid()}"
        for file in files:
            (building / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, building / file)
        os.replace(building, target)
    return Snapshot(target, digest, _commit())


def sha256_of(root: Path, files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        content = (root / file).read_bytes()
        digest.update(f"{file.as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def source_files() -> list[Path]:
    """Our files relative to ROOT, sorted."""
    listed = _git("ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *PACKAGES)
    if listed:
        return sorted({Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file()})
    found = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return sorted(path.relative_to(ROOT) for path in found)


def _commit() -> str:
    return (_git("rev-parse", "HEAD").strip() + "+" * bool(_git("status", "--porcelain", "--", *PACKAGES).strip())).lstrip("+")


def _git(*arguments: str) -> str:
    """What git says; nothing if this is not a checkout of its own, or there is no git."""
    if not (ROOT / ".git").exists():
        return ""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""
