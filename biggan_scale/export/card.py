"""The model card of an export: what the model is, how it was made, how to load it. Only facts that the export holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from biggan_scale.config import to_tree
from biggan_scale.export.graph import Graph
from biggan_scale.export.load import Model

SETTINGS = ("batch_size", "precision", "seed", "game.type", "ema.decay", "ema.half_life", "data.flip")  # shown; config.json has all

TEXT = """\
---
library_name: biggan_scale
pipeline_tag: unconditional-image-generation
license: other  # for the owner of the weights to decide; mind the terms of the training images
tags:
- image-generation
{tags}
---

# {title}

{description}

![samples](samples.png)

{caption}

## Use

```python
from biggan_scale import load
model = load("PATH/OF/THIS/FOLDER")
images = model.sample(num=16, seed=0, truncation=0.5{classes})  # (16, {channels}, {height}, {width}) float in [-1, 1]
```

The same seed gives the same images. `truncation` restricts the latents: the smaller, the more typical and the less varied the
images; None is the prior as trained. `model.generator(z, y)` is the network itself.{encoder}

Without biggan_scale: `model.safetensors` holds plain weights, nothing needs to be normalised or averaged; `config.json` says which
network they belong to.
{graphs}
## How it was made

Training settings (all are in `config.json`):

{settings}

Provenance:

{provenance}

## Intended use and limits

For research on generative models, and for making images like the training images. The images show what the training data
showed, its gaps and biases included, and can resemble single training images.{labels}

No evaluation is recorded in this export.
"""

ENCODER = """ `model.encoder(images)` gives the latent vectors
of images, which the generator turns into reconstructions; `model.encoder.features(images)` gives what a classifier may start from."""

GRAPHS = """
As graphs, which need {runtime} alone and take any number N of images at once:

{listed}

```python
{lines}
```
"""

ONNX_LINES = """\
import numpy, onnxruntime
session = onnxruntime.InferenceSession("PATH/OF/THIS/FOLDER/{file}")
inputs = {{{inputs}}}
({output},) = session.run(None, inputs)"""

PROGRAM_LINES = """\
import torch
network = torch.export.load("PATH/OF/THIS/FOLDER/{file}").module()
{output} = network({inputs})"""


def text(model: Model, graphs: Sequence[Graph]) -> str:
    """The card, in Markdown with a YAML head; `graphs`: what the export has besides its weights."""
    spec, config = model.spec, model.config
    game = config.game.type
    generator = getattr(config.game.config, "generator", config.game)
    size = f"{spec.height} x {spec.width} px, {spec.channels} channel{'s' * (spec.channels != 1)}"
    kind = f"{spec.num_classes} classes" if spec.num_classes else "unconditional"
    seen = f" after {model.provenance['nimg']:,} training images" if "nimg" in model.provenance else ""
    prior = "the full prior" if config.snapshot.truncation is None else f"truncation {config.snapshot.truncation}"
    return TEXT.format(
        tags="\n".join(f"- {tag}" for tag in dict.fromkeys(("gan", game, generator.type))),
        title=f"{generator.type}, {size}, {kind}",
        description=f"The {' and '.join(model.game.averaged())} of the game `{game}` with the network `{generator.type}`{seen}.",
        caption=f"Seed 0, {prior}{', a class per row' if spec.num_classes else ''}.",
        classes=", classes=[0]" if spec.num_classes else "",
        channels=spec.channels,
        height=spec.height,
        width=spec.width,
        settings=_listed({key: _at(to_tree(config), key) for key in SETTINGS}),
        provenance=_listed(model.provenance),
        graphs=_about_graphs(graphs, model) if graphs else "",
        encoder=ENCODER if "E" in model.game.averaged() else "",
        labels=f" Labels are numbers, 0 to\n{spec.num_classes - 1}, as in the training data." if spec.num_classes else "",
    )


def _about_graphs(graphs: Sequence[Graph], model: Model) -> str:
    """What they take and give, and lines that run the first."""
    first = graphs[0]
    is_onnx = first.file.endswith(".onnx")
    module = "numpy" if is_onnx else "torch"
    inputs = {name: _example(module, (16, *shape), dtype) for name, (shape, dtype) in first.inputs.items()}
    if is_onnx:
        lines = ONNX_LINES.format(
            file=first.file, inputs=", ".join(f'"{name}": {made}' for name, made in inputs.items()), output=first.output
        )
    else:
        lines = PROGRAM_LINES.format(file=first.file, inputs=", ".join(inputs.values()), output=first.output)
    return GRAPHS.format(
        runtime="onnxruntime" if is_onnx else "torch",
        listed="\n".join(f"- {_signature(graph)}" for graph in graphs),
        lines=lines,
    )


def _signature(graph: Graph) -> str:
    takes = ", ".join(f"{name} {('N', *shape)} {dtype}".replace("'", "") for name, (shape, dtype) in graph.inputs.items())
    gives = f"{graph.output} {('N', *graph.output_shape)}".replace("'", "")
    return f"`{graph.file}`: {takes} to {gives}; differs from the network by {graph.difference:.1e} of the largest value"


def _example(module: str, size: tuple[int, ...], dtype: str) -> str:
    """An expression for one input: labels of the first class, a truncation of each image, latents."""
    if dtype.startswith("int"):
        return f"{module}.zeros({size}, dtype={module}.{dtype})"
    if len(size) == 1:
        return f"{module}.full({size}, 0.7, dtype={module}.{dtype})"
    return f"torch.randn{size}" if module == "torch" else f"numpy.random.randn{size}.astype(numpy.{dtype})"


def _at(tree: Mapping[str, Any], dotted: str) -> Any:
    for key in dotted.split("."):
        tree = tree[key]
    return tree


def _listed(facts: Mapping[str, Any]) -> str:
    """A line for each fact, under the name it has in config.json; a line for each item of a list."""
    return "\n".join(f"- `{name}`: {item}" for name, value in facts.items() for item in (value if isinstance(value, list) else [value]))
