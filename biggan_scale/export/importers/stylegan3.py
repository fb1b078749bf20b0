"""Weights of github.com/NVlabs/stylegan3: a network-snapshot-*.pkl, read by `_persistent.py`. Names there, and here:

mapping.{embed,fcI,w_avg}              mapping.{embed,layers.I}, w_avg
synthesis.input.{weight,transform}     synthesis.input.{weight,transform}
synthesis.input.{freqs,phases,affine}  synthesis.input.{frequencies,phases,affine}
synthesis.LI_*.{weight,bias,affine}    synthesis.layers.I.{weight,bias,style}; the last is synthesis.to_rgb
synthesis.LI_*.magnitude_ema           synthesis.magnitudes[I]
synthesis.LI_*.{up_filter,down_filter} as they are designed here, or refused

The discriminator, and a generator of that project's configuration "stylegan2", are laid out as stylegan2_ada.py has it.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from biggan_scale.config import CheckpointError, ConfigError, ImageSpec
from biggan_scale.export.importers import _stylegan2, stylegan2_ada
from biggan_scale.export.importers._persistent import Persistent, read
from biggan_scale.export.importers._stylegan2 import Imported
from biggan_scale.export.importers._torch_file import State
from biggan_scale.export.importers.stylegan2_ada import Overrides
from biggan_scale.networks.stylegan3 import OUTPUT_SCALE, Generator, GeneratorConfig

__all__ = ["Overrides", "convert", "generator", "to_game_state"]


def to_game_state(path: Path, overrides: Overrides) -> tuple[dict[str, Any], dict[str, State], list[str]]:
    """What an export holds: the config tree of a run, the weights of each network read, and notes for the user.

    Raises:
        CheckpointError: the path does not lead to readable weights of a StyleGAN3, or of a StyleGAN2.
    """
    networks, notes = convert(read(path), overrides.weights, str(path))
    page = _stylegan2.page(networks, str(path))
    if networks["G"].type == "stylegan3":
        page["game"].update(mixing=0.0, path_length=0.0, w_decay=0.998)
    return page, {role: found.network.state_dict() for role, found in networks.items()}, notes


def convert(found: dict[str, Persistent], weights: str, where: str) -> tuple[dict[str, Imported], list[str]]:
    """The networks of a pickle: G, and D if it is there; and notes for the user.

    Raises:
        CheckpointError: they are neither StyleGAN3's nor StyleGAN2's.
    """
    if weights not in found or "input" not in found[weights].children().get("synthesis", Persistent("", {})).children():
        return stylegan2_ada.convert(found, weights, where)  # which also says what is missing
    networks = {"G": generator(found[weights], where)}
    notes = [f"G from {Path(where).name}, {weights}"]
    if "D" in found:
        networks["D"] = stylegan2_ada.discriminator(found["D"], where)
        notes.append(f"D from {Path(where).name}, D")
    return networks, notes


def generator(module: Persistent, where: str) -> Imported:
    """Raises CheckpointError if this is not a StyleGAN3 generator, or one with constants that are not configurable here."""
    synthesis = module.children()["synthesis"]
    settings, tensors = synthesis.state, dict(module.tensors())
    scale = settings.get("output_scale")
    if scale != OUTPUT_SCALE:
        raise CheckpointError(f"{where}: the images are scaled by {scale}; only {OUTPUT_SCALE} is supported")
    layers = sorted((name for name in synthesis.children() if re.match(r"L\d+_", name)), key=lambda name: int(name[1:].split("_")[0]))
    try:
        config, spec, latent_dim = _architecture(module, layers, tensors)
        network = Generator(config, spec, latent_dim)
        state = renamed(tensors, layers)
        designed = network.state_dict()
        for name, taps in state.items():
            if name.endswith(".taps") and (designed[name].shape != taps.shape or not torch.allclose(designed[name], taps, atol=1e-6)):
                raise CheckpointError(f"{where}: the filter {name.removesuffix('.taps')} is not the one of the paper's design")
        network.load_state_dict(state)
    except KeyError as error:
        raise CheckpointError(f"{where}: not a StyleGAN3 generator: no {error}") from None
    except (ConfigError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise CheckpointError(f"{where}: not the shapes of a StyleGAN3 generator: {' '.join(str(error).split())[:300]}") from None
    return Imported("stylegan3", network, config, spec, latent_dim)


def renamed(tensors: State, layers: list[str]) -> State:
    """A state dict of theirs under our names and in our shapes.

    Args:
        tensors: the state dict.
        layers: the names of the synthesis's layers in their order, RGB's last.
    """
    result: State = {}
    magnitudes: dict[int, Tensor] = {}
    places = {name: f"layers.{i}" for i, name in enumerate(layers[:-1])} | {layers[-1]: "to_rgb"}
    for name, tensor in tensors.items():
        name = re.sub(r"^mapping\.fc(\d+)\.", r"mapping.layers.\1.", name)
        name = name.replace("mapping.w_avg", "w_avg").replace("input.freqs", "input.frequencies")
        if match := re.match(r"synthesis\.(L\d+_[^.]*)\.(.*)", name):
            layer, rest = match.groups()
            if rest == "magnitude_ema":
                magnitudes[layers.index(layer)] = tensor
                continue
            rest = rest.replace("affine.", "style.").replace("up_filter", "activation.up_fir.taps")
            name = f"synthesis.{places[layer]}.{rest.replace('down_filter', 'activation.down_fir.taps')}"
        result[name] = tensor.float()
    result["synthesis.magnitudes"] = torch.stack([magnitudes[i] for i in range(len(layers))]).float()
    return result


def _architecture(module: Persistent, layers: list[str], tensors: State) -> tuple[GeneratorConfig, ImageSpec, int]:
    """From shapes where they tell; from settings, as plain numbers, where they do not."""
    synthesis = module.children()["synthesis"].state
    given = {field.name: synthesis["_init_kwargs"].get(field.name, field.default) for field in dataclasses.fields(GeneratorConfig)}
    first, rgb = module.find("synthesis", layers[0]).state, f"synthesis.{layers[-1]}"
    w_dim = tensors["mapping.w_avg"].shape[0]
    num_classes = tensors["mapping.embed.weight"].shape[1] if "mapping.embed.weight" in tensors else 0
    config = GeneratorConfig(
        w_dim=w_dim,
        mapping_layers=sum(re.fullmatch(r"mapping\.fc\d+\.weight", name) is not None for name in tensors),
        mapping_lr=float(module.find("mapping", "fc0").state["bias_gain"]),
        channel_base=int(given["channel_base"]),
        channel_max=int(given["channel_max"]),
        kernel_size=tensors[f"synthesis.{layers[0]}.weight"].shape[2],
        radial=tensors[f"synthesis.{layers[0]}.down_filter"].ndim == 2,
        num_layers=len(layers) - 1,
        num_critical=int(synthesis["num_critical"]),
        margin=int(synthesis["margin_size"]),
        conv_clamp=None if first["conv_clamp"] is None else float(first["conv_clamp"]),
    )
    side = int(synthesis["img_resolution"])
    spec = ImageSpec(side, side, tensors[f"{rgb}.weight"].shape[0], num_classes)
    return config, spec, tensors["mapping.fc0.weight"].shape[1] - (w_dim if num_classes else 0)
