"""What a model is loaded from: a run (its newest valid checkpoint), a checkpoint, or an export.

Read only, and checked before it is believed: a checkpoint by its manifest, an export by the digest in its config.json. Unlike
resuming, which owns the run directory, nothing here is renamed or set aside: the run may be training at this moment.

An export is a folder
    config.json         {"format", "version", "config": the run's configuration, "provenance": {...}, "weights_sha256"}
    model.safetensors   the averaged weights as plain parameters and buffers, "G.blocks.0.conv1.weight"
    README.md           a model card
    samples.png
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from biggan_scale.config import CheckpointError, ConfigError, EnvironmentFault, RunConfig, config_from_tree
from biggan_scale.engine import checkpoint

EXPORT_FORMAT = "biggan_scale-export"
EXPORT_VERSION = 1
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"

Weights = Literal["ema", "raw"]
CHECKPOINT_FILES: dict[str, str] = {"ema": "ema.safetensors", "raw": "model.safetensors"}
# What a model carries on of a checkpoint's manifest, and under which name.
FACTS = {name: name for name in ("nimg", "round", "state_sha256", "data_fingerprint", "torch", "time")} | {"version": "biggan_scale"}


@dataclass(frozen=True)
class Source:
    """A model on disk, checked. Holds plain values only: rank 0 can find it and tell the others."""

    path: Path  # the checkpoint or the export
    file: Path  # the safetensors file with the weights
    weights: Weights  # averaged, or as trained
    is_export: bool  # plain weights and final statistics; else those of training
    tree: Mapping[str, Any]  # the run's configuration
    provenance: Mapping[str, Any]  # how the weights came to be

    @property
    def config(self) -> RunConfig:
        """Raises: CheckpointError."""
        try:
            return config_from_tree(self.tree, str(self.path))
        except ConfigError as error:
            first, *others = str(error).splitlines()
            more = f" (and {len(others)} more)" if others else ""
            raise CheckpointError(f"{first}{more}; written by another version of biggan_scale") from error


def find(path: str | Path, weights: Weights = "ema") -> Source:
    """The model at a path.

    Raises:
        ConfigError: nothing of ours is there; raw weights of an export.
        CheckpointError: it is damaged, of a newer version, or a run without a checkpoint.
        EnvironmentFault: it cannot be read.
    """
    try:
        return _found(Path(path), weights)
    except OSError as error:
        raise EnvironmentFault(f"{error.filename or path} cannot be read: {error.strerror or error}") from error


def is_export(path: Path) -> bool:
    """Whether a folder says that it is an export, in whatever state."""
    try:
        return json.loads((path / CONFIG_FILE).read_text())["format"] == EXPORT_FORMAT
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return False


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _found(path: Path, weights: Weights) -> Source:
    if (path / checkpoint.MANIFEST).is_file():
        return _checkpoint(path, weights)
    if (path / "checkpoints").is_dir():
        return _checkpoint(_newest_valid(path), weights)
    if (path / CONFIG_FILE).is_file():
        return _export(path, weights)
    if path.exists():
        raise ConfigError(f"{path}: not a model; a run has checkpoints/, a checkpoint {checkpoint.MANIFEST}, an export {CONFIG_FILE}")
    raise ConfigError(f"{path}: no such run, checkpoint or export")


def _newest_valid(run: Path) -> Path:
    problems = []
    for path in checkpoint.checkpoints(run / "checkpoints"):
        problem = checkpoint.problem_of(path)
        if problem is None:
            return path
        problems.append(f"{path.name}: {problem}")
        warnings.warn(f"{path}: {problem}; trying the one before", stacklevel=2)
    none = "all were set aside as BAD_*" if any((run / "checkpoints").glob("BAD_*")) else "none has been written"
    raise CheckpointError(f"{run}: no valid checkpoint ({'; '.join(problems) or none})")


def _checkpoint(path: Path, weights: Weights) -> Source:
    problem = checkpoint.problem_of(path)
    if problem is not None:
        raise CheckpointError(f"{path}: {problem}; take another checkpoint")
    manifest = checkpoint.manifest_of(path)
    if "config" not in manifest:
        raise CheckpointError(f"{path}: {checkpoint.MANIFEST} has no config; only what `biggan-scale train` has written can be loaded")
    provenance = {"weights": weights} | {name: manifest[key] for key, name in FACTS.items() if key in manifest}
    return Source(path, path / CHECKPOINT_FILES[weights], weights, False, manifest["config"], provenance)


def _export(path: Path, weights: Weights) -> Source:
    if not is_export(path):
        raise CheckpointError(f"{path}: {CONFIG_FILE} is not of a biggan_scale export")
    about = json.loads((path / CONFIG_FILE).read_text())
    if about.get("version", 0) > EXPORT_VERSION:
        raise CheckpointError(
            f"{path}: version {about['version']} was written by a newer biggan_scale; this one reads up to {EXPORT_VERSION}"
        )
    if weights != "ema":
        raise ConfigError(f"{path}: an export holds averaged weights only; the raw ones are in the run's checkpoints")
    file = path / WEIGHTS_FILE
    try:
        if sha256(file) != about["weights_sha256"]:
            raise CheckpointError(f"{file} does not match its sha256 in {CONFIG_FILE}; copy the export again")
        return Source(path, file, weights, True, about["config"], about["provenance"])
    except FileNotFoundError:
        raise CheckpointError(f"{path}: {WEIGHTS_FILE} is missing") from None
    except KeyError as error:
        raise CheckpointError(f"{path}: {CONFIG_FILE} has no {error}") from None
