"""What a run is going to need, from its config alone: bytes per rank, FLOPs, messages, and an estimate of time.

The game is built and played on fake tensors (shapes without values), so the plan of a large model costs no memory. Bytes that
autograd keeps for backward are affine in the micro-batch; two sizes give the line. Not in it: workspaces of the kernels, the
allocator's fragments, temporaries of forward and backward, samples for snapshots, and the float32 copies that batch norm keeps in
half precision where its statistics cross ranks. `USABLE` leaves room for them. Speed counts convolutions and matrix products only,
so it is what a large network may come near, and a small one does not. Networks that grow are planned as they are at the end.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from biggan_scale.config import ConfigError, RunConfig, micro_batches
from biggan_scale.config.errors import did_you_mean
from biggan_scale.dist.seeds import Noise
from biggan_scale.engine.loop import build_game
from biggan_scale.engine.optim import player_parameters
from biggan_scale.engine.precision import Precision
from biggan_scale.games.base import Batch, Clock, Game, Move

UTILISATION = 0.25  # of the peak: an assumption, not a measurement; small networks reach far less
USABLE = 0.9  # of a device's memory
PROBES = (2, 4)  # micro-batches that give the line
GB = 1e9


@dataclass(frozen=True)
class Device:
    """memory in GB; peak dense TFLOP/s by precision, where the device has it."""

    memory_gb: float
    tflops: dict[str, float]


_V100 = {"fp64": 7.8, "fp32": 15.7, "fp16": 125.0}  # NVIDIA V100 data sheet, SXM2
_A100 = {"fp64": 9.7, "fp32": 19.5, "bf16": 312.0, "fp16": 312.0}  # NVIDIA A100 data sheet; fp32 without TF32
_H100 = {"fp64": 34.0, "fp32": 67.0, "bf16": 989.0, "fp16": 989.0}  # NVIDIA H100 data sheet, SXM, without sparsity
DEVICES = {
    "v100-16gb": Device(16, _V100),
    "v100-32gb": Device(32, _V100),
    "a100-40gb": Device(40, _A100),
    "a100-80gb": Device(80, _A100),
    "h100-80gb": Device(80, _H100),
}


@dataclass(frozen=True)
class Plan:
    """Sizes in bytes and per rank, where the name says nothing else."""

    world: int
    micro_batch: int
    num_micro: int
    parameters: dict[str, int]  # of each player, their number
    weights: int  # parameters and buffers
    optimizer: int  # of the rank that keeps most, under ZeRO
    ema: int
    gradients: int  # of the largest player: those of one player live at a time
    buckets: int  # DDP's, of all players; 0 on one rank
    activations: int  # kept for backward, in the move that needs most
    peak: int
    checkpoint: int
    checkpoints: int  # the kept ones, and the one being written
    flops_per_image: float  # per image of the data stream, all moves, forward and backward
    reduced_per_round: float  # bytes of gradients that a rank averages with the others
    broadcast_per_round: float  # bytes of weights that a rank sends or gets after a step, under ZeRO
    images_per_round: int
    until_images: int | None  # None: the run ends by wall time
    device: str | None
    device_gb: float | None
    max_micro_batch: int | None  # that divides a rank's part of the batch and fits the device; 0: none; None: no device named
    img_per_s: float | None  # over all ranks: an estimate
    seconds: float | None  # until the end, at that speed

    @property
    def fits(self) -> bool | None:
        return None if self.max_micro_batch is None else self.micro_batch <= self.max_micro_batch


def make_plan(config: RunConfig, world: int, device: str | None = None) -> Plan:
    """Raises ConfigError for a world that does not divide the batch, an unknown device, a precision the device lacks."""
    if world < 1:
        raise ConfigError(f"world {world} must be at least 1")
    micro_batch, num_micro = micro_batches(config, world)
    kind = None if device is None else _device(device, config.precision)
    precision = Precision(config.precision, torch.device("cpu"), ())
    with torch.device("meta"):
        game = build_game(config, torch.device("meta")).to(precision.dtype)
    with FakeTensorMode(), torch.compiler.set_stance("force_eager"):
        _to_cpu(game)  # autocast knows no meta device; fake tensors may say they are on any
        players = {name: list(named.values()) for name, named in player_parameters(game).items()}
        game.requires_grad_(False)
        end = _end(config)
        game.before_round(end)
        moves = game.moves(end)
        probes = {move: [_probe(game, move, players[move.player], size, precision) for size in PROBES] for move in moves}
        batches = game.batches_per_round(end)
        sizes = {name: _bytes(parameters) for name, parameters in players.items()}
        buffers = _bytes(game.buffers())
        weights = _bytes(game.parameters()) + buffers
        ema = sum(_bytes(module.parameters()) + _bytes(module.buffers()) for module in game.averaged().values())
        numbers = {name: sum(p.numel() for p in parameters) for name, parameters in players.items()}
        optimizer = sum(_moments(players[name], 1) for name in config.optim)
        kept = sum(_moments(players[name], world) for name in config.optim) if config.parallel == "zero" else optimizer
    buckets = sum(sizes.values()) if world > 1 else 0
    fixed = weights + buffers + kept + ema + buckets  # a move begins with a copy of the buffers

    def activations(size: int) -> int:
        return max(_line([saved for saved, _ in probe], size) for probe in probes.values())

    def peak(size: int) -> int:
        return fixed + max(sizes[move.player] + _line([saved for saved, _ in probe], size) for move, probe in probes.items())

    flops = sum(probe[-1][1] / PROBES[-1] * move.repeats / move.every for move, probe in probes.items()) / batches
    largest, img_per_s = None, None
    if kind is not None:
        per_rank, room = micro_batch * num_micro, kind.memory_gb * GB * USABLE
        largest = max((n for n in range(1, per_rank + 1) if per_rank % n == 0 and peak(n) <= room), default=0)
        img_per_s = kind.tflops[config.precision] * 1e12 * UTILISATION * world / flops
    images_per_round = batches * config.batch_size
    until = config.until.images(images_per_round)
    checkpoint = weights + ema + optimizer
    updated = sum(sizes[m.player] * m.repeats / m.every for m in moves)
    return Plan(
        world=world,
        micro_batch=micro_batch,
        num_micro=num_micro,
        parameters=numbers,
        weights=weights,
        optimizer=kept,
        ema=ema,
        gradients=max(sizes.values()),
        buckets=buckets,
        activations=activations(micro_batch),
        peak=peak(micro_batch),
        checkpoint=checkpoint,
        checkpoints=checkpoint * (config.checkpoint.keep + 1),
        flops_per_image=flops,
        reduced_per_round=updated if world > 1 else 0.0,
        broadcast_per_round=updated if world > 1 and config.parallel == "zero" else 0.0,
        images_per_round=images_per_round,
        until_images=until,
        device=device,
        device_gb=None if kind is None else kind.memory_gb,
        max_micro_batch=largest,
        img_per_s=img_per_s,
        seconds=None if img_per_s is None or until is None else until / img_per_s,
    )


def _end(config: RunConfig) -> Clock:
    """When the run is complete; after all images there could be, where only its time is limited."""
    images = config.until.images(config.batch_size)
    return Clock(sys.maxsize if images is None else images)


def _device(name: str, precision: str) -> Device:
    if name == "cpu":
        return _this_cpu(precision)
    if name not in DEVICES:
        raise ConfigError(f"unknown device '{name}'; {did_you_mean(name, [*DEVICES, 'cpu'])}")
    if precision not in DEVICES[name].tflops:
        raise ConfigError(f"{name} has no fast {precision}; precision one of {', '.join(DEVICES[name].tflops)}")
    return DEVICES[name]


def _this_cpu(precision: str) -> Device:
    """This machine, and what a convolution of middle size reaches on it with the threads that torch has now."""
    dtype = {"fp64": torch.float64, "bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    images, weight = torch.ones(16, 64, 32, 32, dtype=dtype), torch.ones(64, 64, 3, 3, dtype=dtype)
    times = []
    for _ in range(4):  # the first warms up
        began = time.perf_counter()
        torch.nn.functional.conv2d(images, weight, padding=1)
        times.append(time.perf_counter() - began)
    reached = 2 * images.numel() * weight[0].numel() / min(times[1:]) / 1e12
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Device(memory / GB, {precision: reached / UTILISATION})  # measured already, so nothing is taken off


def _to_cpu(game: Game) -> None:
    """Replace meta by fake CPU tensors; tied ones stay tied. By hand: under FakeTensorMode `Module.to` cannot swap parameters."""
    made: dict[int, Tensor] = {}
    for module in game.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    fake = made.setdefault(
                        id(tensor), torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="cpu")
                    )
                    if tensors is module._parameters and not isinstance(fake, torch.nn.Parameter):
                        fake = made[id(tensor)] = torch.nn.Parameter(fake)
                    tensors[name] = fake  # type: ignore[assignment]


def _probe(game: Game, move: Move, parameters: list[Tensor], size: int, precision: Precision) -> tuple[int, int]:
    """Bytes kept for backward, and FLOPs of forward and backward, of a move on one micro-batch."""
    spec = game.spec
    images = torch.zeros(size, spec.channels, spec.height, spec.width, dtype=precision.dtype)
    labels = torch.zeros(size, dtype=torch.int64) if spec.num_classes else None
    batch = Batch(images, labels, tuple(range(size)))
    draw = game.draw(move, batch, Noise(0, batch.positions, move.name, dtype=precision.dtype))
    lasting = {t.untyped_storage()._cdata for t in (*game.parameters(), *game.buffers())}
    kept: dict[int, Tensor] = {}  # storage: a tensor that keeps it alive, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor.detach())
        return tensor

    for parameter in parameters:
        parameter.requires_grad_(True)
    with _Flops() as counter:
        with saved_tensors_hooks(pack, lambda tensor: tensor), precision.autocast():
            terms = game.loss(move, batch, draw)
        torch.stack(list(terms.loss.values())).sum().backward()
    for parameter in parameters:
        parameter.requires_grad_(False)
        parameter.grad = None
    return sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in lasting), counter.total


class _Flops(TorchDispatchMode):
    """Counts those of convolutions and matrix products. (torch's own counter follows modules by hooks that forbid `autograd.grad`.)"""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


def _line(values: list[int], size: int) -> int:
    """The line through the values at PROBES, at `size`."""
    slope = (values[1] - values[0]) / (PROBES[1] - PROBES[0])
    return round(values[0] + slope * (size - PROBES[0]))


def _moments(parameters: Iterable[Tensor], ranks: int) -> int:
    """Adam's two moments and a step as float32, of the rank that keeps most when largest parameters are dealt first (ZeRO)."""
    loads = [0] * ranks
    for parameter in sorted(parameters, key=Tensor.numel, reverse=True):
        loads[loads.index(min(loads))] += 2 * _bytes([parameter]) + 4
    return max(loads)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)
