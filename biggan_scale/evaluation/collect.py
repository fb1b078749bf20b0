"""Features of many images, by one process or many.

Images are numbered; chunk k holds those from k * size on, and rank r takes every world-th chunk from r on. The networks always see
whole chunks, so what comes out does not depend on the number of ranks, bit for bit on a CPU. Rank 0 gets everything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from biggan_scale.data.index import Dataset
from biggan_scale.data.loader import Loader
from biggan_scale.data.order import GlobalOrder
from biggan_scale.data.pixels import to_uint8
from biggan_scale.dist import process_group
from biggan_scale.editing import paths as editing
from biggan_scale.engine.signals import StopFlag
from biggan_scale.evaluation.extractors import Extractor, to_float
from biggan_scale.export.load import Model
from biggan_scale.metrics import perceptual_path
from biggan_scale.metrics.reconstruction import squared_difference

REAL_ORDER_SEED = 0  # which real images are the first N

Observed = dict[str, Tensor]  # by name ("features", "labels", "probabilities", ...), one row an image, on the CPU
Count = Callable[[int], object]  # told the number of further images done, by all ranks together


def collect(pieces: Iterator[Observed], num: int, size: int, stop: StopFlag, count: Count) -> Observed:
    """The rows of `num` images on rank 0, in their order; nothing on the other ranks.

    Args:
        pieces: this rank's chunks, endless, each of `size` rows.
        stop: asked before each chunk.

    Raises: Preempted on all ranks.
    """
    world = process_group.world()
    mine: list[Observed] = []
    for step in range(math.ceil(num / (size * world))):
        stop.check()
        mine.append(next(pieces))
        count(min((step + 1) * world * size, num) - min(step * world * size, num))
    together = {name: process_group.gather_on_main(torch.stack([piece[name] for piece in mine])) for name in mine[0]}
    return {name: torch.stack(parts, dim=1).flatten(0, 2)[:num] for name, parts in together.items() if parts}


def real(dataset: Dataset, extractor: Extractor, model: Model) -> Iterator[Observed]:
    """This rank's chunks of features, labels and class probabilities of real images, in a shuffled, endless order."""
    for images, labels in _real_chunks(dataset, model):
        images = images.to(model.device)
        yield _observed(extractor, images if extractor.takes_data else model.game.as_generated(images), labels)


def fake(model: Model, extractor: Extractor, seed: int, truncation: float | None) -> Iterator[Observed]:
    """The same of generated images, rounded to 8 bits as real ones are; labels are those asked for, drawn from all."""
    index = process_group.rank()
    while True:
        images, labels = model.chunk(index, seed, truncation, None)
        yield _observed(extractor, to_float(to_uint8(images)).to(model.device), labels)
        index += process_group.world()


@torch.no_grad()
def reconstructed(dataset: Dataset, extractor: Extractor, model: Model) -> Iterator[Observed]:
    """The squared differences, in pixels and in features, of real images to their reconstructions and to the next image of the
    chunk; and the class probabilities of both."""
    for pixels, labels in _real_chunks(dataset, model):
        rebuilt = to_float(to_uint8(model.reconstruct(pixels.to(model.device, model.dtype), labels))).to(model.device)
        images = model.game.as_generated(pixels.to(model.device))
        before, after = extractor(images), extractor(rebuilt)
        piece = {
            "pixels_apart": squared_difference(images, rebuilt),
            "pixels_unrelated": squared_difference(images, images.roll(1, 0)),
            "features_apart": squared_difference(before.values, after.values),
            "features_unrelated": squared_difference(before.values, before.values.roll(1, 0)),
        }
        if before.probabilities is not None and after.probabilities is not None:
            piece |= {"probabilities": before.probabilities.float(), "rebuilt_probabilities": after.probabilities.float()}
        yield {name: tensor.cpu() for name, tensor in piece.items()}


def paths(model: Model, extractor: Extractor, seed: int, truncation: float | None) -> Iterator[Observed]:
    """This rank's chunks of path lengths in features; of unrounded images, because the steps are smaller than 8 bits."""
    index = process_group.rank()
    while True:
        numbers = range(index * model.chunk_size, (index + 1) * model.chunk_size)
        near, far = (extractor(images.float()).values for images in editing.steps(model, numbers, seed, truncation))
        yield {"path_lengths": perceptual_path.lengths(near, far).cpu()}
        index += process_group.world()


def _real_chunks(dataset: Dataset, model: Model) -> Iterator[tuple[Tensor, Tensor | None]]:
    size, world, rank = model.chunk_size, process_group.world(), process_group.rank()
    loader = Loader(dataset, GlobalOrder(dataset.shard_sizes, REAL_ORDER_SEED), workers=0, flip=False, seed=REAL_ORDER_SEED)

    def ranges() -> Iterator[tuple[int, int]]:
        index = rank
        while True:
            yield index * size, (index + 1) * size
            index += world

    try:
        for images, labels, _ in loader.ranges(ranges()):
            yield to_float(images), labels
    finally:
        loader.close()


def _observed(extractor: Extractor, images: Tensor, labels: Tensor | None) -> Observed:
    values, probabilities = extractor(images)
    observed = {"features": values.float().cpu()}
    if labels is not None:
        observed["labels"] = labels.cpu()
    if probabilities is not None:
        observed["probabilities"] = probabilities.float().cpu()
    return observed
