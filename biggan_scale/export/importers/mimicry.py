"""Generators of github.com/kwotsin/mimicry: its SNGAN, conditional GAN and SAGAN, and SSGAN and InfoMax-GAN, whose generators are SNGAN's;
a file netG_N_steps.pth or a log folder of such.

Their networks are residual, as `networks/biggan.py` has them, with bilinear upsampling, tables of gains and biases in each norm where
there are classes, and one self-attention at most. Names there, and here:

    l1                                  linear
    blockI.{bK,cK,c_sc}                 blocks.{I-2}.{normK,convK,shortcut}
    blockI.bK.{bn,embed}                blocks.{I-2}.normK.{norm, gain and bias}    a row there is all gains, then all biases
    attn_block.{theta,phi,g,o,gamma}    attention.J.{theta,phi,g,o,gamma}
    bN, cN                              output_norm, output                         N is the last block's number + 1

Gains there multiply as they are, here they are added to 1. Weights are divided by the spectral norm of their stored u and v, where there
are such, as in eval mode there. There are no averaged weights. Discriminators are not read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from biggan_scale.config import CheckpointError, ConfigError, ImageSpec
from biggan_scale.export.importers import _biggan, _torch_file
from biggan_scale.export.importers._biggan import Imported, Training
from biggan_scale.export.importers._torch_file import State
from biggan_scale.networks import biggan
from biggan_scale.networks.biggan import BOTTOM
from biggan_scale.nn import spectral_norm

NAME = re.compile(r"netG_(\d+)_steps\.pth$")
FIRST_BLOCK = 2
ATTENDS_AT = 16  # px, in the generator of 32 px, all of whose blocks have one width
DEFAULTS = Training(batch_size=64, d_steps=5, orthogonal=0.0, lr_G=2e-4, lr_D=2e-4)
NOTE = "relu and z ~ N(0, I), which files do not say; settings of training in its page are that project's examples'"


@dataclass(frozen=True)
class Overrides:
    """Which of a folder's generators to take."""

    step: int | None = None  # null: the newest


def find(path: Path, overrides: Overrides) -> Path:
    """The file to read.

    Raises:
        CheckpointError: the folder has no such file.
    """
    if path.is_file():
        return path
    below = ("netG_*_steps.pth", "netG/netG_*_steps.pth", "checkpoints/netG/netG_*_steps.pth")
    found = {int(match[1]): file for pattern in below for file in path.glob(pattern) if (match := NAME.search(file.name))}
    if not found:
        raise CheckpointError(f"{path}: no netG_N_steps.pth, nor checkpoints/netG/ with such files")
    step = max(found) if overrides.step is None else overrides.step
    if step not in found:
        raise CheckpointError(f"{path}: no netG_{step}_steps.pth; there are {', '.join(map(str, sorted(found)))}")
    return found[step]


def read(file: Path) -> State:
    """The tensors of a network's file. Nothing in the file is executed.

    Raises:
        CheckpointError: the file is damaged, holds anything else, or no network.
    """
    return _torch_file.read_state(file, "a netG_N_steps.pth", "model_state_dict")


def convert(state: State, where: str) -> Imported:
    """The generator of a state dict, its weights plain.

    Args:
        state: as `read` returns it.
        where: for errors.

    Raises:
        CheckpointError: it is not a generator that `networks/biggan.py` can be.
    """
    names = {name.removesuffix("_orig").replace(".bn.", ".") for name in state}
    if not {"l1.weight", f"block{FIRST_BLOCK}.b1.running_mean"} <= names:
        raise CheckpointError(f"{where}: not a residual generator of that project: expected a netG_N_steps.pth")
    with _biggan.answering(where):
        num_blocks = len({name.partition(".")[0] for name in names if name.startswith("block")})
        plain = _biggan.folded(state)
        after = [plain[f"block{FIRST_BLOCK + i}.c1.weight"].shape[0] for i in range(num_blocks)]
        widths = [plain["l1.weight"].shape[0] // BOTTOM**2, *after]
        resolution = BOTTOM * 2**num_blocks
        channels = widths[-1] // 4 if resolution == 32 and widths[-1] % 4 == 0 else widths[-1]
        if any(width % channels for width in widths):
            raise ConfigError(f"widths {widths}, not multiples of the last")
        attends = _attends(plain, after, resolution)
        table = plain.get(f"block{FIRST_BLOCK}.b1.embed.weight")
        ours = renamed(plain, num_blocks, attends)
        spec = ImageSpec(resolution, resolution, ours["output.weight"].shape[0], 0 if table is None else table.shape[0])
        config = biggan.GeneratorConfig(
            channels=channels,
            hierarchical=False,
            shared_dim=0,
            attention=() if attends is None else (BOTTOM * 2 ** (attends + 1),),
            widths=tuple(width // channels for width in widths),
            upsampling="bilinear",
            init="xavier",
            spectral_norm="l1.weight_orig" in state,
            sn_eps=1e-12,  # torch's
        )
        latent_dim = ours["linear.weight"].shape[1]
        with torch.device("meta"):
            network = biggan.Generator(config, spec, latent_dim)
        spectral_norm.fold(network)
        network.load_state_dict(ours, assign=True)
    return Imported(network, spec, latent_dim, [NOTE])


def _attends(plain: State, widths: list[int], resolution: int) -> int | None:
    """The block that self-attention follows; None if there is none.

    Raises:
        ConfigError: its width is that of several blocks, or of none.
    """
    if "attn_block.theta.weight" not in plain:
        return None
    width = plain["attn_block.theta.weight"].shape[1]
    blocks = [i for i, of_block in enumerate(widths) if of_block == width]
    if resolution == 32 and len(blocks) == len(widths):
        return [BOTTOM * 2 ** (i + 1) for i in blocks].index(ATTENDS_AT)
    if len(blocks) != 1:
        raise ConfigError(f"self-attention on {width} channels, which {len(blocks)} blocks give")
    return blocks[0]


def renamed(plain: State, num_blocks: int, attends: int | None) -> State:
    """Plain weights and statistics under our names."""
    last = FIRST_BLOCK + num_blocks
    result: State = {}
    for name, value in plain.items():
        if name.endswith(".num_batches_tracked"):
            continue
        name = re.sub(r"^l1\.", "linear.", name)
        name = re.sub(rf"^b{last}\.", "output_norm.", name)
        name = re.sub(rf"^c{last}\.", "output.", name)
        name = re.sub(r"^attn_block\.", f"attention.{attends}.", name)
        name = re.sub(r"^block(\d+)\.", lambda match: f"blocks.{int(match[1]) - FIRST_BLOCK}.", name)
        name = re.sub(r"\.c_sc\.", ".shortcut.", name)
        name = re.sub(r"\.c(\d)\.", r".conv\1.", name)
        name = re.sub(r"\.b(\d)\.", r".norm\1.", name)
        name = name.replace(".bn.", ".")
        if name.endswith(".embed.weight"):
            gains, biases = value.chunk(2, dim=1)  # each (classes, C)
            norm = name.removesuffix("embed.weight")
            result |= {f"{norm}gain.weight": gains - 1, f"{norm}bias.weight": biases}
        elif "norm" in name:
            norm, _, kind = name.rpartition(".")
            ours = {"weight": "gain", "bias": "bias"}.get(kind, f"norm.{kind}")
            result[f"{norm}.{ours}"] = value
        else:
            result[name] = value.reshape(1) if name.endswith(".gamma") else value
    return result


def to_game_state(path: Path, overrides: Overrides) -> tuple[dict[str, Any], dict[str, State], list[str]]:
    """What an export holds: the config tree of a run, the plain weights of the generator, and notes for the user.

    Raises:
        CheckpointError: the path does not lead to readable weights of such a generator.
    """
    file = find(path, overrides)
    imported = convert(read(file), str(file))
    g: Any = imported.network.config
    d = biggan.DiscriminatorConfig(g.channels, wide=False)
    name = file.stem
    tree = _biggan.page(g, d, imported.spec, {"type": "normal", "dim": imported.latent_dim}, name, DEFAULTS)
    return tree, {"G": imported.network.state_dict()}, [f"G from {file.name}", *(f"G: {note}" for note in imported.notes)]
