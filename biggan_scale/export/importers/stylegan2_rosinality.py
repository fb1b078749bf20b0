"""Weights of github.com/rosinality/stylegan2-pytorch: a training checkpoint NNNNNN.pt. Names there, and here:

    style.I                               mapping.layers.(I - 1)
    input.input, conv1, to_rgb1           synthesis.{constant,first,first_rgb}       without their leading 1
    convs.(2I), convs.(2I + 1), to_rgbs.I synthesis.blocks.I.{conv0,conv1,to_rgb}
    X.conv.{weight,modulation.*}          X.{weight,style.*}
    X.noise.weight, X.activate.bias       X.noise.strength, X.bias
    noises.noise_I                        the noise.constant of the layers in their order
    convs.0.0, convs.0.1.bias (of D)      blocks.0.from_rgb
    convs.I.{conv1,conv2,skip}            blocks.(I - 1).{conv0,conv1,shortcut}
    final_conv, final_linear.{0,1}        conv, linear, output

Weights are read by torch's restricted unpickler, which executes nothing; the one name it is allowed beyond tensors and containers is
argparse.Namespace, which is nothing but attributes. The mean of w is not in the file: it is estimated from seeded draws.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from biggan_scale.config import CheckpointError
from biggan_scale.dist.seeds import Noise
from biggan_scale.export.importers import _stylegan2, _torch_file
from biggan_scale.export.importers._stylegan2 import Imported, checked_fir
from biggan_scale.export.importers._torch_file import State
from biggan_scale.export.load import one_thread

MAPPING_LR = 0.01  # fixed there
MBSTD_GROUP = 4  # fixed there
NUM_DRAWS = 10_000  # for the mean of w


@dataclass(frozen=True)
class Overrides:
    """Which of the file's networks to take."""

    weights: Literal["g_ema", "g"] = "g_ema"  # the averaged generator, or the one that was being trained


def read(file: Path) -> dict[str, State]:
    """The state dicts of a checkpoint by their names there: g, d, g_ema.

    Raises:
        CheckpointError: the file is damaged, holds anything else, or asks for code.
    """
    content = _torch_file.read(file, [argparse.Namespace])
    states = {
        str(name): {str(key).removeprefix("module."): tensor for key, tensor in value.items()}
        for name, value in (content.items() if isinstance(content, dict) else ())
        if _torch_file.is_state(value)
    }
    if not states:
        raise CheckpointError(f"{file}: holds no networks; expected a checkpoint with g, d and g_ema")
    return states


def to_game_state(path: Path, overrides: Overrides) -> tuple[dict[str, Any], dict[str, State], list[str]]:
    """What an export holds: the config tree of a run, the weights of each network read, and notes for the user.

    Raises:
        CheckpointError: the path does not lead to readable weights of a StyleGAN2.
    """
    states = read(path)
    if overrides.weights not in states:
        raise CheckpointError(f"{path}: no {overrides.weights}; there are {', '.join(sorted(states))}")
    networks = {"G": generator(states[overrides.weights], str(path))}
    notes = [f"G from {path.name}, {overrides.weights}", f"G: the mean of w, for truncation, estimated from {NUM_DRAWS} draws"]
    if "d" in states:
        networks["D"] = discriminator(states["d"], str(path))
        notes.append(f"D from {path.name}, d")
    return _stylegan2.page(networks, str(path)), {role: found.network.state_dict() for role, found in networks.items()}, notes


def generator(state: State, where: str) -> Imported:
    """Raises CheckpointError if these are not the tensors of a generator."""
    found = _stylegan2.generator(renamed_generator(state, where), where, clamp=None, mapping_lr=MAPPING_LR)
    network = found.network
    with torch.no_grad(), one_thread():
        w = network.mapping(Noise(0, range(NUM_DRAWS), "w_avg").normal(found.latent_dim))  # type: ignore[operator]
        network.w_avg.copy_(w.mean(0))  # type: ignore[operator]
    return found


def discriminator(state: State, where: str) -> Imported:
    """Raises CheckpointError if these are not the tensors of a discriminator."""
    return _stylegan2.discriminator(renamed_discriminator(state, where), where, clamp=None, mbstd_group=MBSTD_GROUP)


def renamed_generator(state: State, where: str) -> State:
    result: State = {"w_avg": torch.zeros(next((len(t) for name, t in state.items() if name == "style.1.bias"), 1))}
    for name, tensor in state.items():
        if name.endswith(".kernel"):
            checked_fir(tensor, 4.0, where)
            continue
        name = re.sub(r"^style\.(\d+)\.", lambda m: f"mapping.layers.{int(m[1]) - 1}.", name)
        name = re.sub(r"^input\.input$", "synthesis.constant", name)
        name = re.sub(r"^conv1\.", "synthesis.first.", name)
        name = re.sub(r"^to_rgb1\.", "synthesis.first_rgb.", name)
        name = re.sub(r"^convs\.(\d+)\.", lambda m: f"synthesis.blocks.{int(m[1]) // 2}.conv{int(m[1]) % 2}.", name)
        name = re.sub(r"^to_rgbs\.(\d+)\.", r"synthesis.blocks.\1.to_rgb.", name)
        name = re.sub(r"^noises\.noise_(\d+)$", lambda m: f"{_layer(int(m[1]))}.noise.constant", name)
        name = name.replace(".conv.weight", ".weight").replace(".conv.modulation.", ".style.")
        name = name.replace(".noise.weight", ".noise.strength").replace(".activate.bias", ".bias")
        if name.endswith(".noise.constant"):
            tensor = tensor[0, 0]
        elif name == "synthesis.constant" or (name.endswith(".weight") and tensor.ndim == 5):
            tensor = tensor[0]
        result[name] = tensor.flatten() if re.search(r"rgb\.bias$", name) else tensor
    return result


def _layer(index: int) -> str:
    """The layer that takes the noise image of this number."""
    return "synthesis.first" if index == 0 else f"synthesis.blocks.{(index - 1) // 2}.conv{(index - 1) % 2}"


def renamed_discriminator(state: State, where: str) -> State:
    result: State = {}
    for name, tensor in state.items():
        if name.endswith(".kernel"):
            checked_fir(tensor, 1.0, where)
            continue
        name = re.sub(r"^convs\.0\.[01]\.", "blocks.0.from_rgb.", name)
        for theirs, ours in (("conv1", "conv0"), ("conv2", "conv1"), ("skip", "shortcut")):
            name = re.sub(rf"^convs\.(\d+)\.{theirs}\.\d\.", lambda m, ours=ours: f"blocks.{int(m[1]) - 1}.{ours}.", name)  # type: ignore[misc]
        name = re.sub(r"^final_conv\.[01]\.", "conv.", name)
        name = name.replace("final_linear.0.", "linear.").replace("final_linear.1.", "output.")
        result[name] = tensor
    return result
