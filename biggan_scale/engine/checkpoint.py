"""Checkpoints: written whole or not at all, checked before they are believed.

    checkpoints/000000012.800-kimg/
        model.safetensors   the game's parameters and buffers
        ema.safetensors     their averages
        optim.safetensors   the optimizers' moments, "player/parameter/moment"
        state.json          clock, loss scales, seed: what is not a tensor
        MANIFEST.json       size and sha256 of every file; `state_sha256`, the digest of the whole training state; at its end, its own

Commit protocol: everything is written and fsynced in `.tmp_*`, the manifest last, then the directory is renamed and its parent
fsynced. The newest checkpoint is found by scanning for the newest valid manifest; there is no pointer that could be ahead of the
data. An invalid one is set aside as `BAD_*` and the one before is used; if all are invalid the run stops. Nothing here knows the
world size, and `state_sha256` covers nothing but the training state: two runs in the same state have the same string.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from biggan_scale.config.errors import CheckpointError
from biggan_scale.engine.machine import unwritten
from biggan_scale.engine.tensor_file import write_tensors

FORMAT = 2  # 1 had no digest of the manifest itself
MANIFEST = "MANIFEST.json"
SEAL = ',\n "manifest_sha256": "'
TENSOR_FILES = ("model", "ema", "optim")
STATE_FILES = (*(f"{name}.safetensors" for name in TENSOR_FILES), "state.json")
MIN_KEPT = 2


@dataclass
class TrainingState:
    """Everything a run needs to go on, and nothing else. Tensors by name; `state` is JSON."""

    model: Mapping[str, Tensor]
    ema: Mapping[str, Tensor]
    optim: Mapping[str, Tensor]
    state: dict[str, Any]

    def copied(self) -> TrainingState:
        """The same values on the CPU, in memory of their own: training may go on."""
        parts = {part: {name: _own(tensor) for name, tensor in getattr(self, part).items()} for part in TENSOR_FILES}
        return TrainingState(**parts, state=copy.deepcopy(self.state))


def directory_name(nimg: int) -> str:
    return f"{nimg / 1000:013.3f}-kimg"


# writing


def save(folder: Path, training_state: TrainingState, about: Mapping[str, Any]) -> Path:
    """Commit a checkpoint under `folder` (the run's checkpoints/), named by its clock.

    Args:
        training_state: what to save; tensors are copied to the CPU.
        about: facts for the manifest that are not state (time, version, world size).

    Raises:
        EnvironmentFault: the disk is full, read-only or failing. The older checkpoints are untouched; this one has been published whole
            (what failed was to make sure of its name) or not at all.
    """
    final = folder / directory_name(int(training_state.state["nimg"]))
    temporary = folder / f".tmp_{final.name}_{os.getpid()}"
    try:
        if final.exists() and problem_of(final) is None:
            return final
        folder.mkdir(parents=True, exist_ok=True)
        _write_files(temporary, training_state, dict(about))
        if final.exists():
            set_aside(final)
        os.rename(temporary, final)
        _fsync(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        needed = sum(t.nbytes for name in TENSOR_FILES for t in getattr(training_state, name).values())
        raise unwritten("a checkpoint", folder, error, needed) from error
    return final


def _write_files(temporary: Path, training_state: TrainingState, about: dict[str, Any]) -> None:
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for name in TENSOR_FILES:
        tensors = {k: v.detach().cpu().contiguous() for k, v in getattr(training_state, name).items()}
        write_tensors(temporary / f"{name}.safetensors", tensors)
    (temporary / "state.json").write_text(json.dumps(training_state.state, sort_keys=True, indent=1))
    files = {name: _seal(temporary / name) for name in STATE_FILES}
    manifest = {
        "format": FORMAT,
        "nimg": training_state.state["nimg"],
        "round": training_state.state["round"],
        "files": files,
        "state_sha256": state_sha256(files),
        **about,
    }
    (temporary / MANIFEST).write_text(sealed(manifest))
    _fsync(temporary / MANIFEST)
    _fsync(temporary)


def sealed(manifest: Mapping[str, Any]) -> str:
    """The text of a manifest, which ends with the digest of all that stands before it."""
    body = json.dumps({key: value for key, value in manifest.items() if key != "manifest_sha256"}, indent=1).removesuffix("\n}")
    return body + SEAL + _seal_of(body)


def _seal_of(body: str) -> str:
    return f'{hashlib.sha256(body.encode()).hexdigest()}"\n}}'


def state_sha256(files: Mapping[str, Mapping[str, Any]]) -> str:
    """The digest of the state files' digests, in a fixed order."""
    return hashlib.sha256("".join(files[name]["sha256"] for name in STATE_FILES).encode()).hexdigest()


def retain(folder: Path, keep: int, pins: Collection[Path] = ()) -> None:
    """Delete all but the newest `keep` valid checkpoints (never fewer than two), the last healthy one, and those pinned.

    Invalid ones do not count, and neither does what is kept beyond the newest.

    Raises:
        EnvironmentFault: one cannot be deleted.
    """
    try:
        valid = [path for path in checkpoints(folder) if problem_of(path, again=False) is None]
        pinned = {*pins, last_healthy(folder, again=False)}
        for path in valid[max(keep, MIN_KEPT) :]:
            if path in pinned:
                continue
            doomed = path.with_name(f".del_{path.name}")
            os.rename(path, doomed)  # from here on nobody takes a half-deleted directory for a checkpoint
            shutil.rmtree(doomed, ignore_errors=True)
    except OSError as error:
        raise unwritten("the new name of an old checkpoint", folder, error) from error


def sweep(folder: Path) -> None:
    """Remove what an earlier death left half-written or half-deleted. Only the owner of the run directory may call this."""
    for path in [*folder.glob(".tmp_*"), *folder.glob(".del_*")]:
        shutil.rmtree(path, ignore_errors=True)


# finding and reading


def checkpoints(folder: Path) -> list[Path]:
    """All checkpoint directories, newest first, valid or not."""
    return sorted((p for p in folder.glob("*-kimg") if p.name[0].isdigit()), key=lambda p: p.name, reverse=True)


def problem_of(path: Path, *, again: bool = True) -> str | None:
    """Why this checkpoint cannot be believed, or None. Reads every byte; without `again`, only of files that have changed since."""
    digest = _sha256 if again else _sha256_once
    try:
        text = (path / MANIFEST).read_bytes().decode()
        body, found, seal = text.rpartition(SEAL)
        if found and seal != _seal_of(body):
            return f"{MANIFEST} does not match its own sha256"
        manifest = json.loads(text)
        if manifest["format"] > FORMAT:  # valid, and not ours to set aside
            raise CheckpointError(f"{path}: format {manifest['format']} was written by a newer biggan_scale; this one reads up to {FORMAT}")
        if not found and manifest["format"] > 1:
            return f"{MANIFEST} lacks its own sha256"
        files = manifest["files"]
        if set(files) != set(STATE_FILES):
            return f"{MANIFEST} lists {', '.join(sorted(files))}; expected {', '.join(STATE_FILES)}"
        if manifest["state_sha256"] != state_sha256(files):
            return f"{MANIFEST} contradicts itself: state_sha256 is not the digest of its files"
        for name, entry in files.items():
            size = (path / name).stat().st_size
            if size != entry["bytes"]:
                return f"{name} has {size} of {entry['bytes']} bytes"
            if digest(path / name) != entry["sha256"]:
                return f"{name} does not match its sha256"
        state = json.loads((path / "state.json").read_text())
        if (state["nimg"], state["round"]) != (manifest["nimg"], manifest["round"]):
            return f"{MANIFEST} is of another moment than state.json"
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except OSError as error:
        return f"{Path(str(error.filename or path)).name} cannot be read: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is not readable"
    return None


def newest_valid(folder: Path, warn: Callable[[str], None]) -> Path | None:
    """The newest checkpoint whose every byte is as it was written; None where there has never been one.

    Raises:
        CheckpointError: there are checkpoints and none is valid; a run never silently starts from zero.
    """
    problems = []
    for path in checkpoints(folder):
        problem = problem_of(path)
        if problem is None:
            return path
        warn(f"{path}: {problem}; set aside, trying the one before")
        set_aside(path)
        problems.append(f"{path.name}: {problem}")
    if any(folder.glob("BAD_*")):
        raise CheckpointError(
            f"{folder}: no valid checkpoint is left ({'; '.join(problems) or 'all were set aside as BAD_*'}); "
            "restore one, or start anew in another run_dir"
        )
    return None


def last_healthy(folder: Path, *, again: bool = True) -> Path | None:
    """The newest valid checkpoint whose manifest does not say `"healthy": false`; None if there is none."""
    for path in checkpoints(folder):
        if problem_of(path, again=again) is None and manifest_of(path).get("healthy", True):
            return path
    return None


def set_aside(path: Path) -> None:
    """Keep a checkpoint that is invalid, or that a run got rid of, for people to look at, under a name nobody loads."""
    target = path.with_name(f"BAD_{path.name}")
    number = 1
    while target.exists():
        number += 1
        target = path.with_name(f"BAD_{path.name}_{number}")
    os.rename(path, target)


def load(path: Path) -> TrainingState:
    """Read a checkpoint that `problem_of` has passed."""
    try:
        tensors = {name: load_file(path / f"{name}.safetensors") for name in TENSOR_FILES}
        state = json.loads((path / "state.json").read_text())
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    return TrainingState(**tensors, state=state)


def manifest_of(path: Path) -> dict[str, Any]:
    return json.loads((path / MANIFEST).read_text())


# details


def _own(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _seal(path: Path) -> dict[str, Any]:
    _fsync(path)
    return {"bytes": path.stat().st_size, "sha256": _sha256(path)}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _sha256_once(path: Path) -> str:
    """The digest, from memory if this process has read the file as it is now: retention asks after every save."""
    about = path.stat()
    return _sha256_of_version(path, about.st_ino, about.st_size, about.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _sha256_of_version(path: Path, inode: int, size: int, mtime_ns: int) -> str:
    return _sha256(path)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
