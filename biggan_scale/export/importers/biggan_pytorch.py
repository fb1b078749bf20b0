"""Weights of github.com/ajbrock/BigGAN-PyTorch: a G_ema.pth, G.pth or D.pth, or the experiment's folder of them.

The files are state dicts, in torch.save's zip format or the older one, and say nothing about themselves. The architecture
follows from names and shapes; the folder's name adds what they do not show; what neither shows (epsilons) takes that project's
defaults, and `overrides` change it. Names there, and here:

    shared.weight                         embed.weight
    blocks.I.0.{conv1,conv2,conv_sc}      blocks.I.{conv1,conv2,shortcut}
    blocks.I.0.bnK.{gain,bias}            blocks.I.normK.{gain,bias}         vectors in output_layer.0
    blocks.I.1.{theta,phi,g,o,gamma}      attention.I.{...}
    output_layer.{0,2}                    output_norm, output
    X.u0                                  spectral norm's u of X; v follows from it. sv0, u1, sv1, ... steer nothing
    X.[bn.]{stored,running}_{mean,var}    X.norm.running_{mean,var}          (--mybn: see `_standing`)

and of a BigGAN-deep, whose discriminator counts blocks within each resolution, J < depth, and whose attention stands behind them

    input_conv                            stem
    blocks.I.J.{conv1, ..., conv_sc}      blocks.(I depth + J).{conv1, ..., shortcut}
    blocks.I.depth.{theta,phi,g,o,gamma}  attention.(I depth + depth - 1).{...}
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F

from biggan_scale.config import CheckpointError, ConfigError, ImageSpec
from biggan_scale.export.importers import _biggan, _torch_file
from biggan_scale.export.importers._biggan import Imported
from biggan_scale.export.importers._torch_file import State
from biggan_scale.networks import biggan_deep
from biggan_scale.networks.biggan import BOTTOM, D_WIDTHS, G_WIDTHS, Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from biggan_scale.nn import spectral_norm


@dataclass(frozen=True)
class Overrides:
    """What the files do not say. null: the folder's name, or that project's default."""

    weights: str | None = None  # which of a folder's generators, by file name: G_ema, G, G_best0, ...
    activation: Literal["relu", "leaky_relu"] | None = None  # nonlinearity of G and D
    bn_eps: float = 1e-5  # --BN_eps, which reaches the blocks' norms only
    output_bn_eps: float = 1e-5  # the last norm's, fixed there
    sn_eps: float = 1e-8  # --SN_eps
    sn_iterations: int = 1  # --num_G_SV_itrs, --num_D_SV_itrs
    standing: bool | None = None  # --mybn statistics are sums to divide by their counter; null: if it has counted
    adds_gain: bool = False  # compute x_hat + gain + bias, as --cross_replica does there in eval and on a single device


def find(path: Path, overrides: Overrides) -> dict[str, Path]:
    """The files to read: {"G": ..., "D": ...} of a folder, or the one given.

    Raises:
        CheckpointError: not one experiment.
    """
    if path.is_file():
        return {"file": path}
    folders = [path] if list(path.glob("*.pth")) else sorted({file.parent for file in path.glob("*/*.pth")})
    if len(folders) != 1:
        several = f"several experiments: {', '.join(folder.name for folder in folders)}; name one" if folders else "no .pth files"
        raise CheckpointError(f"{path}: {several}")
    names = {file.stem: file for file in folders[0].glob("*.pth")}
    copies = sorted(name for name in names if re.match(r"G_(ema_)?(best|copy)", name))  # G_best0, G_ema_copy1, ...
    candidates = [overrides.weights] if overrides.weights else ["G_ema", "G", *copies]
    wanted = next((name for name in candidates if name in names), None)
    if wanted is None:
        raise CheckpointError(f"{path}: no {candidates[0]}.pth; there are {', '.join(sorted(names))}")
    suffix = re.sub(r"^G(_ema)?", "", wanted)
    return {"G": names[wanted]} | ({"D": names[f"D{suffix}"]} if f"D{suffix}" in names else {})


def read(file: Path) -> State:
    """The tensors of a .pth file. Nothing in the file is executed.

    Raises:
        CheckpointError: the file is damaged, holds anything else, or is not a state dict.
    """
    return _torch_file.read_state(file, "a G_ema.pth, G.pth or D.pth")  # --G_fp16 saves halves


def convert(state: State, overrides: Overrides, name: str, where: str) -> Imported:
    """The network of a state dict.

    Args:
        state: as `read` returns it.
        overrides: what the file does not say.
        name: the experiment's name, which is its folder's; one that project did not make tells nothing.
        where: for errors.

    Raises:
        CheckpointError: it is not a BigGAN of that project.
    """
    name = name if re.match(r"Big.*_seed\d+_Gch\d+_Dch\d+_", name) else ""
    if unsupported := re.search(r"_(in|ln|gn|ch_\d+|grp_\d+|nonorm)(?:_|$)", name):
        raise CheckpointError(f"{where}: norm_style {unsupported[1]} is not supported; only bn is")
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    is_generator = "output_layer.2.weight" in shapes
    if not is_generator and not {"embed.weight", "blocks.0.0.conv1.weight"} <= shapes.keys():
        raise CheckpointError(f"{where}: neither a generator nor a discriminator; expected a G_ema.pth, G.pth or D.pth")
    make = {
        (True, False): _generator,
        (True, True): _deep_generator,
        (False, False): _discriminator,
        (False, True): _deep_discriminator,
    }[is_generator, _is_deep(shapes)]
    with _biggan.answering(where):
        with torch.device("meta"):  # drawing initial weights takes minutes at full size, only to be overwritten
            imported = make(shapes, overrides, name)
        imported.network.load_state_dict(renamed(state, overrides, imported.notes), assign=True)
    return imported


def _generator(shapes: Mapping[str, tuple[int, ...]], overrides: Overrides, name: str) -> Imported:
    num_blocks = _num_blocks(shapes)
    resolution = _resolution(num_blocks, {resolution: len(widths) - 1 for resolution, widths in G_WIDTHS.items()})
    shared = shapes.get("shared.weight")
    projection = shapes["blocks.0.0.bn1.gain.weight"]  # (C, shared_dim + chunk) of a linear map, or (num_classes, C) of a table
    first_chunk = shapes["linear.weight"][1]
    hierarchical = shared is not None and projection[1] != shared[1]
    notes: list[str] = []
    config = GeneratorConfig(
        hierarchical=hierarchical,
        shared_dim=shared[1] if shared else 0,
        attention=tuple(BOTTOM * 2 ** (i + 1) for i in _attended(shapes)),
        **_of_every_generator(shapes, resolution, overrides, name, notes),
    )
    spec = ImageSpec(resolution, resolution, shapes["output_layer.2.weight"][0], shared[0] if shared else projection[0])
    latent_dim = first_chunk * (num_blocks + 1) if hierarchical else first_chunk
    return Imported(Generator(config, spec, latent_dim), spec, latent_dim, notes)


def _deep_generator(shapes: Mapping[str, tuple[int, ...]], overrides: Overrides, name: str) -> Imported:
    depth = int(said[1]) if (said := re.search(r"_Gd(\d+)_", name)) else 2  # only 2 has names that a file could be told by
    resolution = _resolution(_num_blocks(shapes), {resolution: depth * (len(widths) - 1) for resolution, widths in G_WIDTHS.items()})
    shared, hidden = shapes["shared.weight"], shapes["blocks.0.0.conv1.weight"]
    notes: list[str] = []
    config = biggan_deep.GeneratorConfig(
        shared_dim=shared[1],
        attention=tuple(BOTTOM * 2 ** (i // depth + 1) for i in _attended(shapes)),
        bottleneck=hidden[1] // hidden[0],
        depth=depth,
        **_of_every_generator(shapes, resolution, overrides, name, notes),
    )
    spec = ImageSpec(resolution, resolution, shapes["output_layer.2.weight"][0], shared[0])
    latent_dim = shapes["linear.weight"][1] - shared[1]
    return Imported(biggan_deep.Generator(config, spec, latent_dim), spec, latent_dim, notes)


def _of_every_generator(
    shapes: Mapping[str, tuple[int, ...]], resolution: int, overrides: Overrides, name: str, notes: list[str]
) -> dict[str, Any]:
    """Fields of a generator's configuration, and what the user should know of them."""
    if any(key.endswith("bn.running_mean") for key in shapes):
        notes.append(
            "--cross_replica: taken as x_hat * gain + bias, as several devices compute in training; there, eval mode and a single device "
            "add the gain instead of multiplying (adds_gain=true does so too)"
        )
    return {
        "channels": shapes["linear.weight"][0] // (BOTTOM**2 * G_WIDTHS[resolution][0]),
        "activation": _activation("G", overrides, name, notes),
        "init": _init("G", name),
        "spectral_norm": "linear.u0" in shapes,
        "sn_eps": overrides.sn_eps,
        "sn_iterations": overrides.sn_iterations,
        "bn_eps": overrides.bn_eps,
        "output_bn_eps": overrides.output_bn_eps,
        "bn_unbiased": not any(key.endswith("accumulation_counter") for key in shapes),  # --mybn
        "adds_gain": overrides.adds_gain,
    }


def _discriminator(shapes: Mapping[str, tuple[int, ...]], overrides: Overrides, name: str) -> Imported:
    num_blocks = _num_blocks(shapes)
    resolution = _resolution(num_blocks, {resolution: len(widths) for resolution, widths in D_WIDTHS.items()})
    notes: list[str] = []
    narrow = any(shapes[f"blocks.{i}.0.conv1.weight"][0] != shapes[f"blocks.{i}.0.conv2.weight"][0] for i in range(num_blocks))
    num_halvings = num_blocks - 1 if resolution > 32 else 2
    config = DiscriminatorConfig(
        channels=shapes["embed.weight"][1] // D_WIDTHS[resolution][-1],
        wide=not narrow,
        # Its table calls all blocks of the 32 px network "16", where ours goes by the true sizes: 16, 8, 8, 8.
        attention=tuple(sorted({resolution // 2 ** min(i + 1, num_halvings) for i in _attended(shapes)})),
        **_of_every_discriminator(shapes, overrides, name, notes),
    )
    spec = ImageSpec(resolution, resolution, shapes["blocks.0.0.conv1.weight"][1], shapes["embed.weight"][0])
    return Imported(Discriminator(config, spec), spec, 0, notes)


def _deep_discriminator(shapes: Mapping[str, tuple[int, ...]], overrides: Overrides, name: str) -> Imported:
    num_stages, depth = _num_blocks(shapes), _depth(shapes)
    resolution = _resolution(num_stages, {resolution: len(widths) - 1 for resolution, widths in D_WIDTHS.items()})
    hidden = shapes["blocks.0.0.conv4.weight"]
    num_halvings = num_stages if resolution > 32 else 2
    notes: list[str] = []
    config = biggan_deep.DiscriminatorConfig(
        channels=shapes["embed.weight"][1] // D_WIDTHS[resolution][-1],
        attention=tuple(sorted({resolution // 2 ** min(i + 1, num_halvings) for i in _attended(shapes, depth)})),
        bottleneck=hidden[0] // hidden[1],
        depth=depth,
        **_of_every_discriminator(shapes, overrides, name, notes),
    )
    spec = ImageSpec(resolution, resolution, shapes["input_conv.weight"][1], shapes["embed.weight"][0])
    return Imported(biggan_deep.Discriminator(config, spec), spec, 0, notes)


def _of_every_discriminator(shapes: Mapping[str, tuple[int, ...]], overrides: Overrides, name: str, notes: list[str]) -> dict[str, Any]:
    return {
        "activation": _activation("D", overrides, name, notes),
        "init": _init("D", name),
        "spectral_norm": "linear.u0" in shapes,
        "sn_eps": overrides.sn_eps,
        "sn_iterations": overrides.sn_iterations,
    }


def _is_deep(names: Collection[str]) -> bool:
    return any(re.fullmatch(r"blocks\.\d+\.\d+\.conv4\.weight", name) for name in names)


def _depth(names: Collection[str]) -> int:
    """Blocks at each resolution of a deep discriminator."""
    return 1 + max(int(match[1]) for name in names if (match := re.fullmatch(r"blocks\.\d+\.(\d+)\.conv4\.weight", name)))


def _num_blocks(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return 1 + max(int(match[1]) for key in shapes if (match := re.match(r"blocks\.(\d+)\.", key)))


def _resolution(num_blocks: int, known: Mapping[int, int]) -> int:
    """The resolution whose network has so many blocks."""
    for resolution, count in known.items():
        if count == num_blocks:
            return resolution
    raise ConfigError(f"{num_blocks} blocks; known are {', '.join(map(str, known.values()))}")


def _attended(shapes: Mapping[str, tuple[int, ...]], depth: int = 1) -> list[int]:
    """Indices of the entries of `blocks` that end in self-attention, after `depth` blocks."""
    return sorted(int(match[1]) for key in shapes if (match := re.fullmatch(rf"blocks\.(\d+)\.{depth}\.gamma", key)))


def _activation(role: str, overrides: Overrides, name: str, notes: list[str]) -> Literal["relu", "leaky_relu"]:
    if overrides.activation:
        return overrides.activation
    flag = re.search(f"{role}nl(.+?)_(?:Dnl|Ginit)", name)
    if flag and flag[1] not in ("relu", "inplace_relu", "ir"):
        notes.append(f"{role}: relu assumed, the folder's name says {flag[1]!r}; activation=leaky_relu is the alternative")
    return "relu"


def _init(role: str, name: str) -> Literal["orthogonal", "normal", "xavier"]:
    """How the weights were once drawn: no matter to them, but a run that starts over should do the same."""
    flag = re.search(f"{role}init(ortho|N02|glorot|xavier)", name)
    styles: dict[str, Literal["orthogonal", "normal", "xavier"]] = {"N02": "normal", "glorot": "xavier", "xavier": "xavier"}
    return styles.get(flag[1], "orthogonal") if flag else "orthogonal"


RENAMED = (
    (r"^input_conv\.", "stem."),
    (r"^shared\.", "embed."),
    (r"^output_layer\.0\.", "output_norm."),
    (r"^output_layer\.2\.", "output."),
    (r"^blocks\.(\d+)\.1\.", r"attention.\1."),
    (r"^blocks\.(\d+)\.0\.bn(\d)\.", r"blocks.\1.norm\2."),
    (r"^blocks\.(\d+)\.0\.conv_sc\.", r"blocks.\1.shortcut."),
    (r"^blocks\.(\d+)\.0\.", r"blocks.\1."),
    (r"(?:\.bn)?\.(?:stored|running)_(mean|var)$", r".norm.running_\1"),
)
UNUSED = re.compile(r"\.(sv\d+|u[1-9]\d*|num_batches_tracked|accumulation_counter)$")


def renamed(state: State, overrides: Overrides, notes: list[str]) -> State:
    """The state under our names and in our shapes."""
    renamed: State = {}
    state = _standing(state, overrides, notes)
    if "input_conv.weight" in state:
        state = _one_by_one(state, _depth(state))
    for key, value in state.items():
        if UNUSED.search(key):
            continue
        for pattern, replacement in RENAMED:
            key = re.sub(pattern, replacement, key)
        renamed[key] = value.reshape(1) if key.endswith(".gamma") else value
    for layer in [key.removesuffix(".u0") for key in renamed if key.endswith(".u0")]:
        u, weight = renamed.pop(f"{layer}.u0").flatten(), renamed.pop(f"{layer}.weight")
        norm = f"{layer}.parametrizations.weight"
        renamed |= {f"{norm}.original": weight, f"{norm}.0.u": u, f"{norm}.0.v": F.normalize(weight.flatten(1).T @ u, dim=0)}
    return renamed


def _one_by_one(state: State, depth: int) -> State:
    """A deep discriminator's state with its blocks counted as its generator's are: blocks.I.J to blocks.(I depth + J).0."""

    def name(match: re.Match[str]) -> str:
        stage, block = int(match[1]), int(match[2])
        return f"blocks.{stage * depth + min(block, depth - 1)}.{int(block == depth)}."

    return {re.sub(r"^blocks\.(\d+)\.(\d+)\.", name, key): value for key, value in state.items()}


def _standing(state: State, overrides: Overrides, notes: list[str]) -> State:
    """--mybn stores either running averages or, once it accumulates standing statistics, sums and the number of summands."""
    result = dict(state)
    for prefix in (key.removesuffix("accumulation_counter") for key in state if key.endswith(".accumulation_counter")):
        counter = float(state[f"{prefix}accumulation_counter"])
        if counter > 0 and overrides.standing is not False:
            result |= {key: state[key] / counter for key in (f"{prefix}stored_mean", f"{prefix}stored_var")}
            note = f"mybn: standing statistics, sums over {counter:g} batches, were divided by that (standing=false keeps them as they are)"
            if note not in notes:
                notes.append(note)
    return result


def to_game_state(path: Path, overrides: Overrides) -> tuple[dict[str, Any], dict[str, State], list[str]]:
    """What an export holds: the config tree of a run, the plain weights of each network read, and notes for the user.

    Raises:
        CheckpointError: the path does not lead to readable weights of a BigGAN.
    """
    networks: dict[str, Imported] = {}
    notes: list[str] = []
    for file in find(path, overrides).values():
        name = file.absolute().parent.name
        imported = convert(read(file), overrides, name, str(file))
        spectral_norm.fold(imported.network)
        networks[imported.role] = imported
        notes += [f"{imported.role} from {name}/{file.name}", *(f"{imported.role}: {note}" for note in imported.notes)]
    states = {role: imported.network.state_dict() for role, imported in networks.items()}
    return _page(networks, name), states, notes


def _page(networks: Mapping[str, Imported], name: str) -> dict[str, Any]:
    """The page of a run with these networks, and what the experiment's name says of its training (else that project's defaults)."""

    def said(pattern: str, default: str) -> str:
        match = re.search(f"_{pattern}(?:_|$)", name)
        return match[1] if match else default

    some = next(iter(networks.values()))
    channels = str(some.network.config.channels)
    g: Any = networks["G"].network.config if "G" in networks else GeneratorConfig(int(said(r"Gch(\d+)", channels)), hierarchical=False)
    d: Any = networks["D"].network.config if "D" in networks else _biggan.discriminator_beside(g, int(said(r"Dch(\d+)", channels)))
    prior = {"type": "normal"} | ({"dim": networks["G"].latent_dim} if "G" in networks else {})
    training = _biggan.Training(
        batch_size=int(said(r"bs(\d+)", "64")),
        d_steps=int(said(r"nDs(\d+)", "1")),
        orthogonal=float(said(r"Gortho([\d.e+-]+)", "0")),
        lr_G=float(said(r"Glr([\d.e+-]+)", "5e-5")),
        lr_D=float(said(r"Dlr([\d.e+-]+)", "2e-4")),
    )
    return _biggan.page(g, d, some.spec, prior, name, training)
