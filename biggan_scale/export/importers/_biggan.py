"""From tensors under our names to a BigGAN or BigGAN-deep: what the importers of its various trainers share."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from biggan_scale.config import CheckpointError, ConfigError, ImageSpec, config_from_tree, to_tree
from biggan_scale.export.importers._torch_file import State
from biggan_scale.networks import biggan, biggan_deep
from biggan_scale.networks.biggan import BOTTOM


@dataclass
class Imported:
    """A network, and how it came to be."""

    network: biggan.Generator | biggan.Discriminator
    spec: ImageSpec
    latent_dim: int  # of G; 0 for D
    notes: list[str] = field(default_factory=list)  # what was assumed, for the user to read

    @property
    def role(self) -> str:
        return "G" if isinstance(self.network, biggan.Generator) else "D"


@dataclass(frozen=True)
class Training:
    """How the weights were trained, as far as that is known: for a run that starts over."""

    batch_size: int
    d_steps: int
    orthogonal: float
    lr_G: float
    lr_D: float


THE_PAPERS = Training(batch_size=2048, d_steps=2, orthogonal=1e-4, lr_G=5e-5, lr_D=2e-4)
TRAINING_NOTE = "settings of training in its page are the paper's of BigGAN; files do not say"


@contextmanager
def answering(where: str) -> Iterator[None]:
    """Say of a missing or misshapen tensor that this is not a BigGAN, as a CheckpointError of one line."""
    try:
        yield
    except KeyError as error:
        raise CheckpointError(f"{where}: not a BigGAN: no tensor {error}") from None
    except (ConfigError, IndexError, RuntimeError, ZeroDivisionError) as error:
        raise CheckpointError(f"{where}: not the shapes of a BigGAN: {' '.join(str(error).split())[:300]}") from None


def folded(state: State) -> State:
    """Each weight that torch.nn.utils.spectral_norm keeps in three tensors, as it is in eval mode there: W / (u^T W v).

    u and v are those of the file, without the power iteration that our own eval mode makes from u.
    """
    plain = {name: value for name, value in state.items() if not name.endswith(("weight_orig", "weight_u", "weight_v"))}
    for name, weight in state.items():
        if name.endswith("weight_orig"):
            layer = name.removesuffix("_orig")
            plain[layer] = weight / torch.dot(state[f"{layer}_u"], torch.mv(weight.flatten(1), state[f"{layer}_v"]))
    return plain


def entries(names: Collection[str], prefix: str, gain: str) -> dict[int, str]:
    """Our names of a generator's list in which self-attention is an entry of its own, after the block it follows.

    Args:
        names: of the tensors.
        prefix: pattern of what comes before an entry's number, and of what comes after, with one group: the number.
        gain: the tensor that only self-attention has.

    Returns:
        By their number: "blocks.J", or "attention.J" after block J.
    """
    numbers = sorted({int(match[1]) for name in names if (match := re.match(prefix, name))})
    attends = {int(match[1]) for name in names if name.endswith(f".{gain}") and (match := re.match(prefix, name))}
    ours: dict[int, str] = {}
    num_blocks = 0
    for number in numbers:
        ours[number] = f"attention.{num_blocks - 1}" if number in attends else f"blocks.{num_blocks}"
        num_blocks += number not in attends
    return ours


def attended(ours: Collection[str], depth: int) -> tuple[int, ...]:
    """Resolutions in px at which the entries attend.

    Raises:
        ConfigError: not at the end of a stage of `depth` blocks.
    """
    after = [int(name.removeprefix("attention.")) + 1 for name in ours if name.startswith("attention.")]
    if inside := [num_blocks for num_blocks in after if num_blocks % depth]:
        raise ConfigError(
            f"self-attention after block {inside[0]}; only after block {depth}, {2 * depth}, ..., which double the resolution"
        )
    return tuple(BOTTOM * 2 ** (num_blocks // depth) for num_blocks in after)


def page(
    g: biggan.GeneratorConfig, d: biggan.DiscriminatorConfig, spec: ImageSpec, prior: dict[str, Any], name: str, training: Training
) -> dict[str, Any]:
    """The configuration tree of a run with these networks.

    Args:
        prior: its `game.prior`.
        name: of the run.
    """
    optimizer = {"betas": [0.0, 0.999], "eps": 1e-8}
    tree = {
        "run_dir": f"runs/{name}",
        "until": "0 img",
        "batch_size": training.batch_size,
        "data": {"path": "unknown", "resolution": spec.resolution, "channels": spec.channels, "num_classes": spec.num_classes},
        "game": {
            "type": "gan",
            "d_steps": training.d_steps,
            "orthogonal": training.orthogonal,
            "prior": prior,
            "generator": {"type": _network_of(g), **asdict(g)},
            "discriminator": {"type": _network_of(d), **asdict(d)},
        },
        "optim": {"G": {"lr": training.lr_G, **optimizer}, "D": {"lr": training.lr_D, **optimizer}},
    }
    return to_tree(config_from_tree(tree, name))


def discriminator_beside(g: biggan.GeneratorConfig, channels: int) -> biggan.DiscriminatorConfig:
    """The discriminator that such a generator is trained with, where there is none to read."""
    kind = biggan_deep.DiscriminatorConfig if isinstance(g, biggan_deep.GeneratorConfig) else biggan.DiscriminatorConfig
    return kind(channels)


def _network_of(config: object) -> str:
    """The name by which a page picks the network with this configuration."""
    return type(config).__module__.rpartition(".")[2]
