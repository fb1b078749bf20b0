"""Generators of github.com/POSTECH-CVLab/PyTorch-StudioGAN: its BigGAN and its BigGAN-deep, a file model=G_ema-best-weights-step=N.pth
or the run's folder of such.

A file holds a state dict, which says nothing about itself: the architecture follows from names and shapes, and what they do not show
is fixed there (epsilons) or the default (relu, z ~ N(0, I); two blocks to a doubling in BigGAN-deep). Names there, and here:

    shared                                    embed
    linear0                                   linear
    blocks.I.0.bnK.{gain,bias}, bnK.bn        blocks.J.normK.{gain,bias}, normK.norm
    blocks.I.0.conv2d{0,K}                    blocks.J.{shortcut,convK}
    blocks.I.0.conv1x1_{theta,phi,g,attn}     attention.J.{theta,phi,g,o}         behind block J; an entry of its own there
    blocks.I.0.sigma                          attention.J.gamma
    bn4                                       output_norm
    conv2d5                                   output

Weights are divided by the spectral norm of their stored u and v, as in eval mode there. Statistics are the running ones; standing
statistics, which that project can make before it evaluates, are not in its files. Discriminators are not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from biggan_scale.config import CheckpointError, ImageSpec
from biggan_scale.export.importers import _biggan, _torch_file
from biggan_scale.export.importers._biggan import Imported
from biggan_scale.export.importers._torch_file import State
from biggan_scale.networks import biggan, biggan_deep
from biggan_scale.networks.biggan import BOTTOM
from biggan_scale.nn import spectral_norm

BN_EPS, SN_EPS = 1e-4, 1e-6  # fixed there
DEPTH = 2  # of a BigGAN-deep: what g_depth is in all its pages, and names do not tell
LAST_WIDTH = {32: 4}  # of the features behind the last block, in multiples of g_conv_dim; 1 at other resolutions
CHOICES = ("G_ema-best", "G-best", "G_ema-current", "G-current")


@dataclass(frozen=True)
class Overrides:
    """Which of a folder's generators to take."""

    weights: Literal["G_ema-best", "G-best", "G_ema-current", "G-current"] | None = None  # null: the first of these there is


def find(path: Path, overrides: Overrides) -> Path:
    """The file to read.

    Raises:
        CheckpointError: the folder is not one run's, or has no such file.
    """
    if path.is_file():
        return path
    below = ("model=*.pth", "*/model=*.pth", "checkpoints/*/model=*.pth")  # a run's folder, that of all runs, and what -save named
    folders = next((found for pattern in below if (found := sorted({file.parent for file in path.glob(pattern)}))), [])
    if len(folders) != 1:
        several = f"several runs: {', '.join(folder.name for folder in folders)}; name one" if folders else "no model=*.pth files"
        raise CheckpointError(f"{path}: {several}")
    for choice in (overrides.weights,) if overrides.weights else CHOICES:
        files = sorted(folders[0].glob(f"model={choice}-weights-step=*.pth"))
        if len(files) > 1:
            raise CheckpointError(f"{path}: several files of {choice}: {', '.join(file.name for file in files)}; name one")
        if files:
            return files[0]
    there = ", ".join(sorted(file.name for file in folders[0].glob("model=*.pth")))
    raise CheckpointError(f"{path}: no model={overrides.weights or CHOICES[0]}-weights-step=N.pth; there are {there}")


def read(file: Path) -> State:
    """The tensors of a network's file. Nothing in the file is executed.

    Raises:
        CheckpointError: the file is damaged, holds anything else, or no network.
    """
    return _torch_file.read_state(file, "a model=G_ema-best-weights-step=N.pth", "state_dict")


def convert(state: State, where: str) -> Imported:
    """The generator of a state dict, its weights plain.

    Args:
        state: as `read` returns it.
        where: for errors.

    Raises:
        CheckpointError: it is not a generator that `networks/biggan.py` or `networks/biggan_deep.py` can be.
    """
    _check(state, where)
    with _biggan.answering(where):
        ours = _biggan.entries(state, r"blocks\.(\d+)\.0\.", "sigma")
        plain = renamed(_biggan.folded(state), ours)
        shapes = {name: tuple(value.shape) for name, value in plain.items()}
        deep = "blocks.0.conv4.weight" in shapes
        num_blocks = sum(name.startswith("blocks.") for name in ours.values())
        depth, last = (DEPTH, "conv4") if deep else (1, "conv2")
        features = [shapes["blocks.0.conv1.weight"][1], *(shapes[f"blocks.{i}.{last}.weight"][0] for i in range(num_blocks))]
        resolution = BOTTOM * 2 ** (num_blocks // depth)
        channels = features[-1] // LAST_WIDTH.get(resolution, 1)
        num_classes, shared_dim = shapes["embed.weight"]
        settings: dict[str, Any] = {
            "channels": channels,
            "shared_dim": shared_dim,
            "attention": _biggan.attended(ours.values(), depth),
            "widths": tuple(width // channels for width in features),
            "spectral_norm": "linear0.weight_orig" in state,
            "sn_eps": SN_EPS,
            "bn_eps": BN_EPS,
            "output_bn_eps": BN_EPS,
        }
        spec = ImageSpec(resolution, resolution, shapes["output.weight"][0], num_classes)
        stem_dim = shapes["linear.weight"][1]
        with torch.device("meta"):
            network = _deep_generator(settings, shapes, spec, stem_dim) if deep else _generator(settings, spec, stem_dim, num_blocks)
        spectral_norm.fold(network)
        network.load_state_dict(plain, assign=True)
    latent_dim = stem_dim - shared_dim if deep else stem_dim * (num_blocks + 1)
    note = "relu, z ~ N(0, I), epsilons of 1e-4 in norms and 1e-6 in spectral norms: that project's defaults, which files do not repeat"
    return Imported(network, spec, latent_dim, [note, _biggan.TRAINING_NOTE])


def _generator(settings: dict[str, Any], spec: ImageSpec, stem_dim: int, num_blocks: int) -> biggan.Generator:
    return biggan.Generator(biggan.GeneratorConfig(hierarchical=True, **settings), spec, stem_dim * (num_blocks + 1))


def _deep_generator(settings: dict[str, Any], shapes: Mapping[str, Any], spec: ImageSpec, stem_dim: int) -> biggan.Generator:
    hidden = shapes["blocks.0.conv1.weight"]
    config = biggan_deep.GeneratorConfig(bottleneck=hidden[1] // hidden[0], depth=DEPTH, **settings)
    return biggan_deep.Generator(config, spec, stem_dim - settings["shared_dim"])


def _check(state: State, where: str) -> None:
    """Raises CheckpointError where the names say that it is another network."""
    names = {name.removesuffix("_orig") for name in state}
    if "linear1.weight" in names and "linear0.weight" not in names:
        raise CheckpointError(f"{where}: a discriminator; only generators are read: expected a model=G_ema-best-weights-step=N.pth")
    if not {"linear0.weight", "blocks.0.0.conv2d1.weight", "bn4.weight", "conv2d5.weight"} <= names:
        raise CheckpointError(f"{where}: another network of that project; only its BigGAN (big_resnet) and BigGAN-deep are read")
    if info := sorted(name for name in names if name.startswith("info_")):
        raise CheckpointError(f"{where}: takes InfoGAN's codes ({info[0]}), which is not supported")
    if "shared.weight" not in names or "blocks.0.0.bn1.gain.weight" not in names:
        raise CheckpointError(f"{where}: norms without a shared class embedding (g_cond_mtd W/O) are not supported; only cBN's are")


RENAMED = (
    (r"^shared\.", "embed."),
    (r"^linear0\.", "linear."),
    (r"^bn4\.weight$", "output_norm.gain"),
    (r"^bn4\.bias$", "output_norm.bias"),
    (r"^bn4\.", "output_norm.norm."),
    (r"^conv2d5\.", "output."),
    (r"\.bn(\d)\.bn\.", r".norm\1.norm."),
    (r"\.bn(\d)\.", r".norm\1."),
    (r"\.conv2d0\.", ".shortcut."),
    (r"\.conv2d(\d)\.", r".conv\1."),
    (r"\.conv1x1_attn\.", ".o."),
    (r"\.conv1x1_(theta|phi|g)\.", r".\1."),
    (r"\.sigma$", ".gamma"),
)


def renamed(state: State, ours: Mapping[int, str]) -> State:
    """The state, its weights plain, under our names; `ours`: those of the entries of the list of blocks."""
    result: State = {}
    for name, value in state.items():
        if name.endswith(".num_batches_tracked"):
            continue
        name = re.sub(r"^blocks\.(\d+)\.0\.", lambda match: f"{ours[int(match[1])]}.", name)
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        result[name] = value
    return result


def to_game_state(path: Path, overrides: Overrides) -> tuple[dict[str, Any], dict[str, State], list[str]]:
    """What an export holds: the config tree of a run, the plain weights of the generator, and notes for the user.

    Raises:
        CheckpointError: the path does not lead to readable weights of a generator of its BigGAN or BigGAN-deep.
    """
    file = find(path, overrides)
    imported = convert(read(file), str(file))
    g: Any = imported.network.config
    d = _biggan.discriminator_beside(g, g.channels)
    name = file.absolute().parent.name
    tree = _biggan.page(g, d, imported.spec, {"type": "normal", "dim": imported.latent_dim}, name, _biggan.THE_PAPERS)
    return tree, {"G": imported.network.state_dict()}, [f"G from {name}/{file.name}", *(f"G: {note}" for note in imported.notes)]
