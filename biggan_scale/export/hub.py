"""Exports: a folder that others can load with `biggan_scale.load`, or with nothing but safetensors. See `source.py` for what is in it.

The weights are those to use after training: averaged, spectral norms folded in, batch-norm statistics final. The folder is read
back through `load` before it appears under its name, so what does not load is never published.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from biggan_scale.config import ConfigError
from biggan_scale.data.pixels import save_png, tile_in_turn, to_uint8
from biggan_scale.engine.tensor_file import write_tensors
from biggan_scale.export import card, graph, source
from biggan_scale.export.load import Model
from biggan_scale.export.publish import new_folder

HUB = "hub"  # the format of a folder without graphs
SAMPLES_FILE, CARD_FILE = "samples.png", "README.md"
ROWS, COLUMNS = 8, 8  # of the grid of samples


def export_run(run: str | Path, out: str | Path, format_: str = HUB) -> Path:
    """Export a run's (or a checkpoint's) averaged weights.

    Args:
        run: a run directory, of which the newest valid checkpoint is taken, or a checkpoint; for a graph an export as well.
        out: the folder to write; a non-empty one is replaced if it is an export.
        format_: HUB, or one of `graph.FORMATS`, by which the folder has the networks as graphs besides.

    Returns:
        The checkpoint that was taken.

    Raises:
        ConfigError: no run is there, or an export already; `out` is something else. CheckpointError: the run has no valid checkpoint.
        EnvironmentFault: `out` cannot be written; packages of the format are missing, or its graph is not right.
    """
    found = source.find(run)
    if found.is_export and format_ == HUB:
        raise ConfigError(f"{run} is an export already; copy the folder")
    graph.check_installed(format_)
    with new_folder(Path(out), may_replace=source.is_export) as folder:
        model = Model(found)
        weights = {part: network.state_dict() for part, network in model.game.averaged().items()}
        _fill(folder, found.tree, weights, model.provenance, format_)
    return found.path


def write_export(
    out: str | Path, config_tree: Mapping[str, Any], weights: Mapping[str, Mapping[str, Tensor]], about: Mapping[str, Any]
) -> None:
    """Write an export of weights from anywhere.

    Args:
        out: the folder to write; a non-empty one is replaced if it is an export.
        config_tree: a run's configuration (`to_tree`) with the game these weights belong to.
        weights: for each module the game averages ("G"), its plain parameters and buffers by name.
        about: how the weights came to be, as JSON: the model card lists every entry.

    Raises:
        CheckpointError: the weights are not those of the game. ConfigError: `out` is something else than an export.
        EnvironmentFault: `out` cannot be written.
    """
    with new_folder(Path(out), may_replace=source.is_export) as folder:
        _fill(folder, config_tree, weights, about, HUB)


def _fill(
    folder: Path, config_tree: Mapping[str, Any], weights: Mapping[str, Mapping[str, Tensor]], about: Mapping[str, Any], format_: str
) -> None:
    tensors = {f"{part}.{name}": t.detach().cpu().contiguous() for part, named in weights.items() for name, t in named.items()}
    write_tensors(folder / source.WEIGHTS_FILE, tensors, {"format": "pt"})
    description = {
        "format": source.EXPORT_FORMAT,
        "version": source.EXPORT_VERSION,
        "config": config_tree,
        "provenance": about,
        "weights_sha256": source.sha256(folder / source.WEIGHTS_FILE),
    }
    (folder / source.CONFIG_FILE).write_text(json.dumps(description, indent=1) + "\n")
    model = Model(source.find(folder))
    truncation = model.config.snapshot.truncation
    classes = list(range(min(model.spec.num_classes, ROWS)))
    num_rows = len(classes) or ROWS
    images = model.sample(num_rows * COLUMNS, truncation=truncation, classes=classes or None)
    save_png(tile_in_turn(to_uint8(images), num_rows), folder / SAMPLES_FILE)
    graphs = [] if format_ == HUB else graph.write(folder, model, format_)
    (folder / CARD_FILE).write_text(card.text(model, graphs))
