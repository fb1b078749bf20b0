"""An export's networks as graphs, which run without this package and without Python's classes: torch.export programs, or ONNX.

`generator` turns latents z (and labels y, and where truncation moves w its psi) into images, `encoder` images into latents, for any
number of them at once. Each graph is read back and must answer as the network does before the export appears.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from biggan_scale.config.errors import EnvironmentFault
from biggan_scale.export.load import Model, one_thread

FORMATS = {"onnx": ".onnx", "torch-export": ".pt2"}
NEEDED_BY_ONNX = ("onnx", "onnxscript", "onnxruntime")
TRACED, TRIED = 2, (1, 5)  # images at once: when the graph is made, and when it is tried
TOLERANCE = 1e-3  # of the largest magnitude of an answer; a step of an 8-bit image is 8e-3 of it


@dataclass(frozen=True)
class Graph:
    """A file, and what the model card says of it: shapes without the number of images, and how far its answers were from the network's."""

    file: str
    inputs: dict[str, tuple[tuple[int, ...], str]]
    output: str
    output_shape: tuple[int, ...]
    difference: float


class Named(nn.Module):
    """`answer` of named inputs as a module of positional ones, with the networks that it uses."""

    def __init__(self, networks: Mapping[str, nn.Module], answer: Callable[[dict[str, Tensor]], Tensor], names: tuple[str, ...]) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(networks)
        self.answer = answer
        self.names = names

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.answer(dict(zip(self.names, inputs, strict=True)))


def check_installed(format_: str) -> None:
    """Raises: EnvironmentFault where a package is missing that makes graphs of this format."""
    missing = [name for name in NEEDED_BY_ONNX if importlib.util.find_spec(name) is None] if format_ == "onnx" else []
    if missing:
        raise EnvironmentFault(f"--format onnx needs {', '.join(missing)}; pip install 'biggan_scale[onnx]'")


def write(folder: Path, model: Model, format_: str) -> list[Graph]:
    """Writes a graph of each network of an export into its folder.

    Args:
        model: what is exported, on the CPU.
        format_: one of FORMATS.

    Raises:
        EnvironmentFault: a graph answers otherwise than its network.
    """
    networks = model.game.averaged()
    made = [
        _write(folder / "generator", Named(networks, model.game.generate, tuple(_latents(model, 1))), "images", _latents, model, format_)
    ]
    if "E" in networks:
        made.append(
            _write(folder / "encoder", Named(networks, lambda x: model.encoder(x["images"]), ("images",)), "z", _images, model, format_)
        )
    return made


def _latents(model: Model, num: int) -> dict[str, Tensor]:
    """Of the samples 0 .. num - 1; a truncation of 1 is none, but lets the generators that truncate in w show their input."""
    return model.latents(range(num), seed=0, truncation=1.0, classes=None)


def _images(model: Model, num: int) -> dict[str, Tensor]:
    """Of the size that the model was trained on: its generator's may be smaller (BigBiGAN)."""
    spec = model.spec
    return {
        "images": torch.linspace(-1, 1, num * spec.channels * spec.height * spec.width).view(num, spec.channels, spec.height, spec.width)
    }


@torch.no_grad()
def _write(path: Path, network: Named, output: str, inputs: Callable[[Model, int], dict[str, Tensor]], model: Model, format_: str) -> Graph:
    path = path.with_suffix(FORMATS[format_])
    save, opened = {"onnx": (_save_onnx, _open_onnx), "torch-export": (_save_program, _open_program)}[format_]
    with one_thread(), _quiet():
        save(path, _traced(network, inputs(model, TRACED)), network.names, output)
        graph = opened(path)
        difference = 0.0
        for num in TRIED:
            tried = inputs(model, num)
            wanted, answer = network(*tried.values()), graph(tried)
            difference = max(difference, float((answer - wanted).abs().max() / wanted.abs().max()))
    if not difference <= TOLERANCE:
        raise EnvironmentFault(
            f"{path.name}: answers otherwise than the network, by {difference:.1e} of the largest value, with torch {torch.__version__}"
        )
    shapes = {name: (tuple(t.shape[1:]), str(t.dtype).removeprefix("torch.")) for name, t in tried.items()}
    return Graph(path.name, shapes, output, tuple(wanted.shape[1:]), difference)


def _save_program(path: Path, program: ExportedProgram, inputs: Sequence[str], output: str) -> None:
    torch.export.save(program, path)


def _open_program(path: Path) -> Callable[[dict[str, Tensor]], Tensor]:
    program = torch.export.load(path).module()
    return lambda inputs: program(*inputs.values())


def _save_onnx(path: Path, program: ExportedProgram, inputs: Sequence[str], output: str) -> None:
    made = torch.onnx.export(program, dynamo=True, input_names=inputs, output_names=[output], verbose=False)
    assert made is not None, "dynamo gives a program"
    made.save(str(path))


def _open_onnx(path: Path) -> Callable[[dict[str, Tensor]], Tensor]:
    onnxruntime = importlib.import_module("onnxruntime")

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda inputs: torch.from_numpy(session.run(None, {name: t.numpy() for name, t in inputs.items()})[0])


def _traced(network: Named, inputs: dict[str, Tensor]) -> ExportedProgram:
    """The network as a program of torch, for any number of images; it does not tell where the sources of its maker lie."""
    number = torch.export.Dim("num", min=1)
    program = torch.export.export(network, tuple(inputs.values()), dynamic_shapes=(tuple({0: number} for _ in inputs),), strict=False)
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)
    return program


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters say to their developers."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            log.setLevel(level)
