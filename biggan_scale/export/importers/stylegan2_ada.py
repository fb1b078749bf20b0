"""Weights of github.com/NVlabs/stylegan2-ada-pytorch: a network-snapshot-*.pkl, read by `_persistent.py`. Names there, and here:

mapping.fcI, mapping.w_avg                    mapping.layers.I, w_avg
synthesis.b4.{const,conv1,torgb}              synthesis.{constant,first,first_rgb}
synthesis.bR.{conv0,conv1,torgb,skip}         synthesis.blocks.I.{conv0,conv1,to_rgb,shortcut}       R = 8, 16, ...: I = 0, 1, ...
X.{affine,noise_strength,noise_const}         X.{style,noise.strength,noise.constant}
bR.{fromrgb,conv0,conv1,skip}                 blocks.I.{from_rgb,conv0,conv1,shortcut}               from the full size down
b4.{fromrgb,conv,fc,out}                      {from_rgb,conv,linear,output}
X.resample_filter                             [1, 3, 3, 1], or refused
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from biggan_scale.config import CheckpointError
from biggan_scale.export.importers import _stylegan2
from biggan_scale.export.importers._persistent import Persistent, read
from biggan_scale.export.importers._stylegan2 import Imported, checked_fir
from biggan_scale.export.importers._torch_file import State

RENAMED = (
    (r"^mapping\.fc(\d+)\.", r"mapping.layers.\1."),
    (r"^mapping\.w_avg$", "w_avg"),
    (r"^synthesis\.b4\.const$", "synthesis.constant"),
    (r"^synthesis\.b4\.conv1\.", "synthesis.first."),
    (r"^synthesis\.b4\.torgb\.", "synthesis.first_rgb."),
    (r"\.torgb\.", ".to_rgb."),
    (r"\.skip\.", ".shortcut."),
    (r"\.affine\.", ".style."),
    (r"\.noise_strength$", ".noise.strength"),
    (r"\.noise_const$", ".noise.constant"),
    (r"^b4\.fc\.", "linear."),
    (r"^b4\.out\.", "output."),
    (r"^b4\.fromrgb\.", "from_rgb."),
    (r"^b4\.conv\.", "conv."),
    (r"\.fromrgb\.", ".from_rgb."),
)


@dataclass(frozen=True)
class Overrides:
    """Which of the file's networks to take."""

    weights: Literal["G_ema", "G"] = "G_ema"  # the averaged generator, or the one that was being trained


def to_game_state(path: Path, overrides: Overrides) -> tuple[dict[str, Any], dict[str, State], list[str]]:
    """What an export holds: the config tree of a run, the weights of each network read, and notes for the user.

    Raises:
        CheckpointError: the path does not lead to readable weights of a StyleGAN2.
    """
    networks, notes = convert(read(path), overrides.weights, str(path))
    return _stylegan2.page(networks, str(path)), {role: found.network.state_dict() for role, found in networks.items()}, notes


def convert(found: dict[str, Persistent], weights: str, where: str) -> tuple[dict[str, Imported], list[str]]:
    """The networks of a pickle: G, and D if it is there; and notes for the user.

    Raises:
        CheckpointError: they are not StyleGAN2's.
    """
    if weights not in found:
        raise CheckpointError(f"{where}: no {weights}; there are {', '.join(sorted(found))}")
    networks = {"G": generator(found[weights], where)}
    if "D" in found:
        networks["D"] = discriminator(found["D"], where)
    return networks, [f"{role} from {Path(where).name}, {key}" for role, key in (("G", weights), ("D", "D")) if role in networks]


def generator(module: Persistent, where: str) -> Imported:
    state = renamed(dict(module.tensors()), where)
    layer, fc = _settings(module, where, "synthesis", "b4", "conv1"), _settings(module, where, "mapping", "fc0")
    return _stylegan2.generator(state, where, clamp=_number(layer, "conv_clamp", where), mapping_lr=_number(fc, "bias_gain", where) or 1.0)


def discriminator(module: Persistent, where: str) -> Imported:
    state = renamed(dict(module.tensors()), where)
    group = 1
    if "mbstd" in module.find("b4").children():
        mbstd = _settings(module, where, "b4", "mbstd")
        if mbstd.get("num_channels") != 1:
            raise CheckpointError(
                f"{where}: D's minibatch standard deviation has {mbstd.get('num_channels')} channels; only 1 is supported"
            )
        group = int(mbstd.get("group_size") or 32)
    if "fc0" in (module.children()["mapping"].children() if "mapping" in module.children() else {}):
        lr = _number(_settings(module, where, "mapping", "fc0"), "bias_gain", where)
        if lr != _stylegan2.LABEL_LR:
            raise CheckpointError(f"{where}: D's mapping has the learning-rate multiplier {lr}; only {_stylegan2.LABEL_LR} is supported")
    clamp = _number(_settings(module, where, "b4", "conv"), "conv_clamp", where)
    return _stylegan2.discriminator(state, where, clamp=clamp, mbstd_group=group)


def renamed(state: State, where: str) -> State:
    """A state dict of theirs under our names and in our shapes."""
    sizes = sorted({int(match[1]) for name in state if (match := re.match(r"(?:synthesis\.)?b(\d+)\.", name))})
    result: State = {}
    for name, tensor in state.items():
        if name.endswith("resample_filter"):
            checked_fir(tensor, 1.0, where)
            continue
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        name = re.sub(r"^synthesis\.b(\d+)\.", lambda m: f"synthesis.blocks.{sizes.index(int(m[1])) - 1}.", name)
        name = re.sub(r"^b(\d+)\.", lambda m: f"blocks.{len(sizes) - 1 - sizes.index(int(m[1]))}.", name)
        result[name] = tensor.reshape(1) if name.endswith("noise.strength") else tensor
    return result


def _settings(module: Persistent, where: str, *path: str) -> dict[str, Any]:
    try:
        settings = module.find(*path).state
    except KeyError:
        raise CheckpointError(f"{where}: not a StyleGAN2: no module {'.'.join(path)}") from None
    if settings.get("activation", "lrelu") != "lrelu":
        raise CheckpointError(f"{where}: {'.'.join(path)} has the activation {settings['activation']}; only lrelu is supported")
    return settings


def _number(settings: dict[str, Any], key: str, where: str) -> float | None:
    value = settings.get(key)
    if value is not None and not isinstance(value, (int, float)):
        raise CheckpointError(f"{where}: the setting {key} is not a number")
    return None if value is None else float(value)
