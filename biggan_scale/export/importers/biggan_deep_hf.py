"""Weights of github.com/huggingface/pytorch-pretrained-BigGAN: DeepMind's BigGAN-deep, as a folder with config.json and pytorch_model.bin.

A file NAME-pytorch_model.bin, as downloads are called, wants NAME-config.json beside it. Names there, and here:

    embeddings                                embed               transposed
    generator.gen_z                           linear              rows (h, w, C) become (C, h, w)
    generator.layers.I.conv_K                 blocks.J.conv(K+1)
    generator.layers.I.bn_K.{scale,offset}    blocks.J.norm(K+1).{gain,bias}
    generator.layers.I.snconv1x1_X, gamma     attention.J.X, gamma                 behind block J; a layer of its own there
    generator.bn.{weight,bias}                output_norm.{gain,bias}
    generator.conv_to_rgb                     output              the first 3 rows, all that is used of them
    X.running_{means,vars}                    X.norm.running_{mean,var}            of one truncation

Conditions are [z, embedding] there and [embedding, z] here, so the columns that take them change places. Weights are divided by the
spectral norm of their stored u and v, as in eval mode there.

The statistics of batch norm were measured for n_stats truncations from 0 to 1, and G(z) is right only for z of the same truncation:
a normal truncated at two standard deviations, times the truncation. An export holds one set, of `Overrides.truncation`, with the
prior that goes with it: without a truncation of its own, `sample` draws what that project does at that truncation. For another, import
again. Between the measured truncations statistics are interpolated; that project's code gives the two neighbours each other's
weight (so it does at some measured truncations, like 0.14, which it does not hit in floating point); `swaps_neighbours` does so too.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from biggan_scale.config import CheckpointError, ConfigError, ImageSpec
from biggan_scale.export.importers import _biggan, _torch_file
from biggan_scale.export.importers._biggan import Imported
from biggan_scale.export.importers._torch_file import State
from biggan_scale.networks.biggan import BOTTOM
from biggan_scale.networks.biggan_deep import Generator, GeneratorConfig
from biggan_scale.nn import spectral_norm

WEIGHTS, CONFIG = "pytorch_model.bin", "config.json"
NUM_COLORS = 3  # fixed there
BOTTLENECK = 4  # fixed there
THRESHOLD = 2.0  # of the truncated normal distribution, in standard deviations
ATTENTION = {"theta": "theta", "phi": "phi", "g": "g", "o_conv": "o"}


@dataclass(frozen=True)
class Overrides:
    """Which of the file's statistics to take."""

    truncation: float = 1.0  # take the statistics measured at this truncation, and draw z with it
    swaps_neighbours: bool = False  # interpolate between two measured truncations with their weights swapped, as is done there

    def __post_init__(self) -> None:
        if not 0 < self.truncation <= 1:
            raise ConfigError(f"truncation {self.truncation:g} must be above 0 and at most 1")


@dataclass(frozen=True)
class Described:
    """What config.json says."""

    z_dim: int
    channel_width: int
    num_classes: int
    resolution: int
    eps: float  # of all norms, spectral ones too
    doubles: tuple[bool, ...]  # for each block: whether it doubles the resolution
    widths: tuple[int, ...]  # before, between and after the blocks, in multiples of channel_width

    @property
    def depth(self) -> int:
        """Blocks to a doubling.

        Raises:
            ConfigError: they are not equally many, or the last is not the one that doubles.
        """
        depth = self.doubles.index(True) + 1 if True in self.doubles else 0
        stage = (False,) * (depth - 1) + (True,)
        if not depth or self.doubles != stage * (len(self.doubles) // depth):
            raise ConfigError("its layers are not stages of equally many, of which the last doubles the resolution")
        return depth


def find(path: Path) -> tuple[Path, Path]:
    """The weights and the configuration.

    Raises:
        CheckpointError: one is missing.
    """
    weights = path / WEIGHTS if path.is_dir() else path
    if not weights.is_file():
        raise CheckpointError(f"{path}: no {WEIGHTS} in this folder; expected {WEIGHTS} and {CONFIG}")
    if not weights.name.endswith(WEIGHTS):
        raise CheckpointError(f"{path}: expected a [NAME-]{WEIGHTS}, or a folder with {WEIGHTS} and {CONFIG}")
    config = weights.with_name(weights.name.removesuffix(WEIGHTS) + CONFIG)
    if not config.is_file():
        raise CheckpointError(f"{path}: no {config.name} beside the weights, which says what they are of")
    return weights, config


def read(file: Path) -> State:
    """The tensors of a pytorch_model.bin. Nothing in the file is executed.

    Raises:
        CheckpointError: the file is damaged, holds anything else, or is not a state dict.
    """
    return _torch_file.read_state(file, f"a {WEIGHTS}")


def describe(file: Path) -> Described:
    """What a config.json says.

    Raises:
        CheckpointError: it is not one of that project.
    """
    try:
        said = json.loads(file.read_text())
        before, after = ([int(layer[i]) for layer in said["layers"]] for i in (1, 2))
        if before[1:] != after[:-1]:
            raise ValueError("a layer does not take what the one before it gives")
        return Described(
            z_dim=int(said["z_dim"]),
            channel_width=int(said["channel_width"]),
            num_classes=int(said["num_classes"]),
            resolution=int(said["output_dim"]),
            eps=float(said["eps"]),
            doubles=tuple(bool(layer[0]) for layer in said["layers"]),
            widths=(before[0], *after),
        )
    except (KeyError, TypeError, IndexError, ValueError, OSError) as error:
        why = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise CheckpointError(f"{file}: not the {CONFIG} of a BigGAN-deep: {why}") from None


def convert(state: State, described: Described, overrides: Overrides, where: str) -> Imported:
    """The generator of a state dict, its weights plain.

    Args:
        state: as `read` returns it.
        where: for errors.

    Raises:
        CheckpointError: it is not a BigGAN-deep of that project.
    """
    with _biggan.answering(where):
        ours = _biggan.entries(state, r"generator\.layers\.(\d+)\.", "gamma")
        spec = ImageSpec(described.resolution, described.resolution, NUM_COLORS, described.num_classes)
        config = GeneratorConfig(
            channels=described.channel_width,
            shared_dim=described.z_dim,
            attention=_biggan.attended(ours.values(), described.depth),
            widths=described.widths,
            bottleneck=BOTTLENECK,
            depth=described.depth,
            sn_eps=described.eps,
            bn_eps=described.eps,
            output_bn_eps=described.eps,
        )
        with torch.device("meta"):
            network = Generator(config, spec, described.z_dim)
        spectral_norm.fold(network)
        network.load_state_dict(renamed(_biggan.folded(state), ours, described.z_dim, overrides), assign=True)
        note = _statistics_note(len(state["generator.bn.running_means"]), overrides)
    return Imported(network, spec, described.z_dim, [note, _biggan.TRAINING_NOTE])


def renamed(state: State, ours: dict[int, str], z_dim: int, overrides: Overrides) -> State:
    """The state under our names and in our shapes.

    Args:
        state: weights plain.
        ours: our names of the layers.
    """
    result: State = {}
    for name, value in state.items():
        name = re.sub(r"^generator\.layers\.(\d+)\.", lambda match: f"{ours[int(match[1])]}.", name)
        name = re.sub(r"\.snconv1x1_(\w+)\.", lambda match: f".{ATTENTION[match[1]]}.", name)
        name = re.sub(r"\.(bn|conv)_(\d)\.", lambda match: f".{'norm' if match[1] == 'bn' else 'conv'}{int(match[2]) + 1}.", name)
        name = re.sub(r"^generator\.bn\.(weight|bias)$", lambda m: f"output_norm.{'gain' if m[1] == 'weight' else 'bias'}", name)
        name = re.sub(r"\.running_(mean|var)s$", r".norm.running_\1", name)
        name = name.replace(".scale.", ".gain.").replace(".offset.", ".bias.")
        for theirs, here in (("embeddings.", "embed."), ("generator.gen_z.", "linear."), ("generator.bn.", "output_norm.")):
            name = name.replace(theirs, here)
        name = name.replace("generator.conv_to_rgb.", "output.")
        if name == "embed.weight":
            value = value.T.contiguous()
        elif ".norm.running_" in name:
            value = at_truncation(value, overrides)
        elif name.startswith("output."):
            value = value[:NUM_COLORS].clone()  # the normalisation, done by now, was of all rows
        elif name.startswith("linear."):
            value = value.unflatten(0, (BOTTOM, BOTTOM, -1)).movedim(2, 0).flatten(0, 2)
        if name == "linear.weight" or re.search(r"\.(gain|bias)\.weight$", name):
            value = torch.cat([value[:, z_dim:], value[:, :z_dim]], dim=1)  # [z, embedding] to [embedding, z]
        result[name] = value
    return result


def at_truncation(rows: Tensor, overrides: Overrides) -> Tensor:
    """(C,): the statistics at a truncation, from those measured at (0, ..., 1), (n_stats, C)."""
    below, fraction = _position(len(rows), overrides)
    return torch.lerp(rows[below], rows[below + 1], fraction) if fraction else rows[below].clone()


def _position(num_rows: int, overrides: Overrides) -> tuple[int, float]:
    """The row at or below the truncation, and the weight of the row after it."""
    if overrides.swaps_neighbours:
        fraction, below = math.modf(overrides.truncation / (1 / (num_rows - 1)))
        return int(below), 1 - fraction if fraction else 0.0
    fraction, below = math.modf(round(overrides.truncation * (num_rows - 1), 6))  # 0.14 * 50 is above 7
    return int(below), fraction


def _statistics_note(num_rows: int, overrides: Overrides) -> str:
    below, fraction = _position(num_rows, overrides)
    row = f"row {below}" if not fraction else f"{1 - fraction:.6g} of row {below} and {fraction:.6g} of row {below + 1}"
    return (
        f"batch norm's statistics at truncation {overrides.truncation:g}, {row} of 0 to {num_rows - 1}; z is drawn as there at that "
        "truncation; for another, import again with truncation=T"
    )


def to_game_state(path: Path, overrides: Overrides) -> tuple[dict[str, Any], dict[str, State], list[str]]:
    """What an export holds: the config tree of a run, the plain weights of the generator, and notes for the user.

    Raises:
        CheckpointError: the path does not lead to readable weights of a BigGAN-deep.
    """
    weights, config = find(path)
    imported = convert(read(weights), describe(config), overrides, str(weights))
    g: Any = imported.network.config
    prior = {"type": "truncated", "dim": imported.latent_dim, "threshold": THRESHOLD, "scale": overrides.truncation}
    d = _biggan.discriminator_beside(g, g.channels)
    name = weights.absolute().parent.name
    tree = _biggan.page(g, d, imported.spec, prior, name, _biggan.THE_PAPERS)
    notes = [f"G from {name}/{weights.name}", *(f"G: {note}" for note in imported.notes)]
    return tree, {"G": imported.network.state_dict()}, notes
