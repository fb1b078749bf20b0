"""From tensors under our names to a StyleGAN2: what the importers of its various trainers share.

The architecture follows from names and shapes; what neither shows (a clamp, a learning-rate multiplier) is passed in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from biggan_scale.config import CheckpointError, ConfigError, ImageSpec, config_from_tree, to_tree
from biggan_scale.export.importers._torch_file import State
from biggan_scale.networks.style import BOTTOM
from biggan_scale.networks.stylegan2 import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from biggan_scale.nn.resample_fir import TAPS, Fir

LABEL_LR = 0.01  # of D's mapping of labels


@dataclass
class Imported:
    """A network, and how it came to be."""

    type: str  # its file in networks/
    network: nn.Module
    config: Any
    spec: ImageSpec
    latent_dim: int = 0  # of G
    notes: list[str] = field(default_factory=list)  # what was assumed, for the user to read


def checked_fir(taps: Tensor, gain: float, where: str) -> None:
    """Raises CheckpointError if a file's filter is not [1, 3, 3, 1], the only one that is built in."""
    expected = torch.outer(torch.tensor(TAPS), torch.tensor(TAPS)).to(taps) / sum(TAPS) ** 2 * gain
    if taps.shape != expected.shape or not torch.allclose(taps, expected, atol=1e-6):
        raise CheckpointError(f"{where}: a resampling filter is not {list(TAPS)}, the only one supported")


def generator(state: State, where: str, *, clamp: float | None, mapping_lr: float) -> Imported:
    """The generator with these tensors; its filters need not be among them.

    Raises:
        CheckpointError: they are not a StyleGAN2 generator's.
    """
    try:
        shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
        num_blocks = _count(shapes, r"synthesis\.blocks\.(\d+)\.")
        num_layers = _count(shapes, r"mapping\.layers\.(\d+)\.")
        widths = [shapes["synthesis.constant"][0], *(shapes[f"synthesis.blocks.{i}.conv1.weight"][0] for i in range(num_blocks))]
        w_dim = shapes[f"mapping.layers.{num_layers - 1}.weight"][0]
        num_classes = shapes["mapping.embed.weight"][1] if "mapping.embed.weight" in shapes else 0
        rgb = f"synthesis.blocks.{num_blocks - 1}.to_rgb.weight" if num_blocks else "synthesis.first_rgb.weight"
        architecture: Literal["skip", "orig", "resnet"] = "orig"
        if "synthesis.blocks.0.shortcut.weight" in shapes:
            architecture = "resnet"
        elif "synthesis.first_rgb.weight" in shapes:
            architecture = "skip"
        base, largest = _base(widths)
        config = GeneratorConfig(w_dim, num_layers, mapping_lr, base, largest, architecture, clamp)
        latent_dim = shapes["mapping.layers.0.weight"][1] - (w_dim if num_classes else 0)
        side = BOTTOM * 2**num_blocks
        spec = ImageSpec(side, side, shapes[rgb][0], num_classes)
        with torch.device("meta"):
            network = Generator(config, spec, latent_dim)
        load(network, state)
    except KeyError as error:
        raise CheckpointError(f"{where}: not a StyleGAN2 generator: no tensor {error}") from None
    except (ConfigError, ValueError, IndexError, RuntimeError) as error:
        raise CheckpointError(f"{where}: not the shapes of a StyleGAN2 generator: {' '.join(str(error).split())[:300]}") from None
    return Imported("stylegan2", network, config, spec, latent_dim)


def discriminator(state: State, where: str, *, clamp: float | None, mbstd_group: int) -> Imported:
    """The discriminator with these tensors.

    Raises:
        CheckpointError: they are not a StyleGAN2 discriminator's.
    """
    try:
        shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
        num_blocks = _count(shapes, r"blocks\.(\d+)\.")
        inner = [shapes[f"blocks.{i}.conv1.weight"][0] for i in reversed(range(num_blocks))]  # 4 px first
        widths = [*inner, shapes["blocks.0.conv0.weight"][0]]
        num_classes = shapes["mapping.embed.weight"][1] if "mapping.embed.weight" in shapes else 0
        architecture: Literal["resnet", "orig", "skip"] = "orig"
        if "blocks.0.shortcut.weight" in shapes:
            architecture = "resnet"
        elif "from_rgb.weight" in shapes:
            architecture = "skip"
        base, largest = _base(widths)
        group = mbstd_group if shapes["conv.weight"][1] > shapes["conv.weight"][0] else 1
        label_layers = _count(shapes, r"mapping\.layers\.(\d+)\.")
        config = DiscriminatorConfig(base, largest, architecture, group, label_layers if num_classes else 8, clamp)
        side = BOTTOM * 2**num_blocks
        spec = ImageSpec(side, side, shapes["blocks.0.from_rgb.weight"][1], num_classes)
        with torch.device("meta"):
            network = Discriminator(config, spec)
        load(network, state)
    except KeyError as error:
        raise CheckpointError(f"{where}: not a StyleGAN2 discriminator: no tensor {error}") from None
    except (ConfigError, ValueError, IndexError, RuntimeError) as error:
        raise CheckpointError(f"{where}: not the shapes of a StyleGAN2 discriminator: {' '.join(str(error).split())[:300]}") from None
    return Imported("stylegan2", network, config, spec)


def load(network: nn.Module, state: State) -> None:
    """Give a network on the meta device these values, and its filters theirs."""
    filters = {f"{name}.taps": Fir().taps for name, module in network.named_modules() if isinstance(module, Fir)}
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()} | filters, assign=True)


def page(networks: Mapping[str, Imported], name: str) -> dict[str, Any]:
    """The configuration tree of a run with these networks; what the files do not say is the paper's."""
    g, d = networks["G"], networks.get("D")
    d_type, d_config = (d.type, d.config) if d is not None else ("stylegan2", DiscriminatorConfig())
    optimizer = {"lr": 2e-3, "betas": [0.0, 0.99], "eps": 1e-8}
    tree = {
        "run_dir": f"runs/{Path(name).stem}",
        "until": "0 img",
        "batch_size": 32,
        "data": {"path": "unknown", "resolution": g.spec.resolution, "channels": g.spec.channels, "num_classes": g.spec.num_classes},
        "game": {
            "type": "stylegan2",
            "prior": {"type": "normal", "dim": g.latent_dim},
            "generator": {"type": g.type, **asdict(g.config)},
            "discriminator": {"type": d_type, **asdict(d_config)},
        },
        "optim": {"G": optimizer, "D": optimizer},
        "ema": {"decay": None, "half_life": "10 kimg", "buffers": "copy"},
    }
    return to_tree(config_from_tree(tree, name))


def _count(shapes: Mapping[str, Any], pattern: str) -> int:
    """One more than the largest number that the pattern finds in a name; 0 if it finds none."""
    return 1 + max((int(match[1]) for name in shapes if (match := re.match(pattern, name))), default=-1)


def _base(widths: list[int]) -> tuple[int, int]:
    """channel_base and channel_max of widths at 4, 8, ... px."""
    largest = max(widths)
    return widths[-1] * BOTTOM * 2 ** (len(widths) - 1), largest
