"""From the name of features to what computes them, with what has to be said of them beside every number.

random          a fixed network without training; any data. What it is: metrics/features.py
classifier      a small network trained on the labels of the data at hand, once, and kept: metrics/classifier.py
pixels          the image, averaged down to at most 32 px
encoder         of the model's own encoder: what a linear probe reads where it has such features (BigBiGAN's), else its answer z
discriminator   of the checkpoint's own discriminator: says what it has learned of the data; no yardstick between models
FILE            Inception's, with weights that the user has: metrics/inception.py. With the published file the numbers are those that
                papers report, if the rest of the protocol is theirs, too (docs/metrics.md)
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from biggan_scale.config.errors import ConfigError
from biggan_scale.data.index import Dataset, file_sha256
from biggan_scale.data.loader import Loader
from biggan_scale.data.order import GlobalOrder
from biggan_scale.data.packaged import cache_directory
from biggan_scale.dist import process_group
from biggan_scale.evaluation import cache
from biggan_scale.evaluation.request import FEATURES
from biggan_scale.export.load import Model, one_thread
from biggan_scale.export.plain import HasFeatures, plain_discriminator
from biggan_scale.export.source import Source
from biggan_scale.metrics import inception
from biggan_scale.metrics.classifier import NUM_FEATURES, Classifier, train
from biggan_scale.metrics.distances import Tick
from biggan_scale.metrics.features import Features, Pixels, RandomNetwork, averaged_down, digest

MIN_SIDE = 8  # px: what the networks here halve three times
CLASSIFIER_SIDE = 32  # px: larger images are averaged down to it
CLASSIFIER_IMAGES = 60_000  # seen in training: two minutes on one core; small data sets are gone through several times
CLASSIFIER_BATCH = 128
CLASSIFIER_SEED = 0


@dataclass(frozen=True)
class Extractor:
    """extract: images (B, C, H, W) float in [-1, 1] on the device -> Features. about: for the provenance of every number; its
    `sha256` stands for all that the features depend on. is_worth_keeping: whether another evaluation will want the same of the real
    images, and cannot have them for the price of reading them. takes_data: real images go in as the data has them, not in the size
    of generated ones."""

    extract: Callable[[Tensor], Features]
    about: dict[str, Any]
    is_worth_keeping: bool
    takes_data: bool = False

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Features:
        with one_thread():
            return self.extract(images)


def check(name: str, model: Model, source: Source, dataset: Dataset) -> None:
    """Raises ConfigError for features that cannot be had of this model or data, or from this file."""
    if name not in FEATURES:
        inception.load(Path(name))
        if dataset.channels not in (1, 3):
            raise ConfigError(f"--features {name}: Inception sees grey or RGB images, these have {dataset.channels} channels")
    if name in ("random", "classifier") and min(dataset.height, dataset.width) < MIN_SIDE:
        raise ConfigError(f"--features {name}: images must have {MIN_SIDE} px or more; take --features pixels")
    if name == "classifier" and not dataset.classes:
        raise ConfigError("--features classifier is trained on the labels of --data, which has none; take --features random")
    if name == "encoder":
        _ = model.encoder
    if name == "discriminator":
        plain_discriminator(source, torch.device("cpu"))


def make(name: str, model: Model, source: Source, dataset: Dataset, tick: Tick) -> Extractor:
    """The extractor of a name, or file, that has passed `check`; all ranks call it, and rank 0 alone trains what must be trained."""
    if name == "pixels":
        return Extractor(Pixels(), _about(name, "the image averaged down to at most 32 px", digest(Pixels())), is_worth_keeping=False)
    if name == "random":
        random = RandomNetwork(dataset.channels).to(model.device)
        return Extractor(random, _about(name, "a fixed random convolutional network, never trained", digest(random)), is_worth_keeping=True)
    if name == "classifier":
        return _classifier(model, dataset, tick)
    if name not in FEATURES:
        return _inception(Path(name), model)
    weights = f"{source.provenance.get('state_sha256', source.path)}/{source.weights}"
    if name == "encoder":
        encoder = model.encoder
        features = encoder.features if isinstance(encoder, HasFeatures) else encoder
        return replace(_of_model(name, features, "the model's own encoder", weights, model), takes_data=True)
    network = plain_discriminator(source, model.device)
    return _of_model(name, network.features, "the checkpoint's own discriminator, as trained", weights, model)


def _of_model(name: str, network: Callable[[Tensor], Tensor], what: str, weights: str, model: Model) -> Extractor:
    def extract(images: Tensor) -> Features:
        return Features(network(images.to(model.dtype)).flatten(1))

    return Extractor(extract, _about(name, what, hashlib.sha256(f"{name}/{weights}".encode()).hexdigest()), is_worth_keeping=False)


def _inception(file: Path, model: Model) -> Extractor:
    network = inception.load(file).to(model.device)
    is_published = file_sha256(file).startswith(inception.PUBLISHED_SHA256)
    what = "Inception of December 2015, " + ("the published weights" if is_published else f"with other weights than the published: {file}")
    about = _about("inception", what, digest(network)) | {"comparable_with_papers": is_published}
    return Extractor(network, about, is_worth_keeping=True)


def _classifier(model: Model, dataset: Dataset, tick: Tick) -> Extractor:
    network = Classifier(replace(model.spec, num_classes=dataset.num_classes), CLASSIFIER_SEED)
    network.load_state_dict(process_group.on_main(lambda: _trained(network, dataset, model, tick)))
    network.to(model.device).eval().requires_grad_(False)

    def extract(images: Tensor) -> Features:
        values = network.features(averaged_down(images, CLASSIFIER_SIDE))
        return Features(values, network.head(values).softmax(1))

    what = f"{NUM_FEATURES} of a small classifier trained on {CLASSIFIER_IMAGES} images of this data"
    return Extractor(extract, _about("classifier", what, digest(network)), is_worth_keeping=True)


def _trained(network: Classifier, dataset: Dataset, model: Model, tick: Tick) -> dict[str, Tensor]:
    """The classifier's values, kept from an earlier evaluation or trained now."""
    spec = model.game.generated_spec()
    name = f"{dataset.fingerprint[:16]}-{spec.height}x{spec.width}-{CLASSIFIER_SEED}-{CLASSIFIER_IMAGES}.safetensors"
    file = cache_directory() / "classifiers" / name
    identity = {
        "data_fingerprint": dataset.fingerprint,
        "size": [spec.height, spec.width],
        "seed": CLASSIFIER_SEED,
        "images": CLASSIFIER_IMAGES,
        "untrained_sha256": digest(network),
        "side": CLASSIFIER_SIDE,
        "torch": torch.__version__,
    }
    kept = cache.read(file, identity)
    if kept is not None:
        return kept
    num_batches = max(CLASSIFIER_IMAGES // CLASSIFIER_BATCH, 1)
    loader = Loader(dataset, GlobalOrder(dataset.shard_sizes, CLASSIFIER_SEED), workers=0, flip=False, seed=CLASSIFIER_SEED)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels, _ in loader.ranges((i * CLASSIFIER_BATCH, (i + 1) * CLASSIFIER_BATCH) for i in range(num_batches)):
            tick()
            assert labels is not None, "checked before"
            yield averaged_down(model.game.as_generated(to_float(images)), CLASSIFIER_SIDE), labels

    print(f"training a classifier on {CLASSIFIER_IMAGES} images of {dataset.path} (once)", file=sys.stderr, flush=True)
    try:
        with torch.enable_grad(), one_thread():
            train(network, batches(), num_batches)
    finally:
        loader.close()
    cache.write(file, dict(network.state_dict()), identity)
    return dict(network.state_dict())


def to_float(pixels: Tensor) -> Tensor:
    """uint8 -> float in [-1, 1]."""
    return pixels.float().div_(127.5).sub_(1)


def _about(name: str, what: str, sha256: str) -> dict[str, Any]:
    return {"name": name, "what": what, "sha256": sha256, "comparable_with_papers": False}
