"""How well a class-conditional model of Fashion-MNIST draws what it is asked for, as one JSON object.

    python benchmarks/fashion_mnist.py runs/fashion_mnist

The images are those of Debian's package dataset-fashion-mnist, as shards of 32 px, packed at first use.

Two numbers, of N generated images, all classes alike: the accuracy of a small classifier (trained here, on the real training
images) against the classes that were asked for; and the Frechet distance in that classifier's features to the N first real test
images. Both also for the same model before training, and for real training images in place of generated ones, which is as good
as it gets. The distance depends on N and on this classifier: it is no FID.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from biggan_scale import __version__, load
from biggan_scale.config import DataError, ImageSpec, RunConfig, UserError, to_tree
from biggan_scale.data.index import Dataset
from biggan_scale.data.loader import Loader
from biggan_scale.data.order import GlobalOrder
from biggan_scale.data.pack import PackOptions, pack
from biggan_scale.data.sources import open_source
from biggan_scale.engine import checkpoint
from biggan_scale.engine.loop import Engine
from biggan_scale.engine.snapshot import to_uint8
from biggan_scale.export.load import Model
from biggan_scale.metrics.classifier import Classifier, train
from biggan_scale.metrics.frechet import Statistics, frechet_distance, statistics

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
FILES = {"fashion_mnist32": "train-images-idx3-ubyte.gz", "fashion_mnist32_test": "t10k-images-idx3-ubyte.gz"}  # shards: images
RESOLUTION = 32
BATCH = 128  # images of a training step of the classifier
CHUNK = 500  # images judged at once


def main() -> int:
    args = _arguments()
    torch.set_num_threads(args.threads)
    try:
        print(json.dumps(evaluate(args), indent=1))
    except UserError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that is printed."""
    train_set, test_set = (_dataset(args.data / name, args.images / file) for name, file in FILES.items())
    num = min(args.num, test_set.num_samples)
    model = load(args.source, weights=args.weights)
    classifier = _classifier(train_set, args.data, args.classifier_seed, args.classifier_epochs)
    _say(f"judging {num} real test images, and as many of each other kind")
    test_statistics, test_accuracy = judge(classifier, real_images(test_set, num))

    def against_test(images: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
        found, accuracy = judge(classifier, images)
        return {"accuracy": round(accuracy, 4), "frechet": round(frechet_distance(found, test_statistics), 3)}

    return {
        "trained": against_test(generated_images(model, num, args.seed)),
        "untrained": against_test(generated_images(untrained(model.config), num, args.seed)),
        "real_train": against_test(real_images(train_set, num)),
        "real_test": {"accuracy": round(test_accuracy, 4), "frechet": 0.0},
        "num": num,
        "seed": args.seed,
        "source": {"path": str(args.source), **model.provenance},
        "classifier": {"seed": args.classifier_seed, "epochs": args.classifier_epochs},
        "data": {"train": train_set.fingerprint, "test": test_set.fingerprint},
        "versions": {"biggan_scale": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


@torch.no_grad()
def judge(classifier: Classifier, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Statistics, float]:
    """The features of (images, labels), and the part of the images whose label the classifier finds."""
    features, right = [], []
    for images, labels in batches:
        features.append(classifier.features(images))
        right.append(classifier.head(features[-1]).argmax(1) == labels)
    return statistics(torch.cat(features)), float(torch.cat(right).double().mean())


def real_images(dataset: Dataset, num: int, seed: int = 0, batch: int = CHUNK) -> Iterator[tuple[Tensor, Tensor]]:
    """(images, labels) of the `num` first samples of a shuffled, endless stream; images (B, 1, 32, 32) in [-1, 1]."""
    loader = Loader(dataset, GlobalOrder(dataset.shard_sizes, seed), workers=0, flip=False, seed=seed)
    for images, labels, _ in loader.ranges((start, min(start + batch, num)) for start in range(0, num, batch)):
        assert labels is not None, "the packed data set has labels"
        yield to_float(images), labels


def generated_images(model: Model, num: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The same of a model, going through the classes in turn, rounded to 8 bits as the real ones are."""
    num_classes = model.spec.num_classes
    images = model.sample(num, seed=seed, classes=range(num_classes))
    labels = torch.arange(num) % num_classes
    for part, part_labels in zip(images.split(CHUNK), labels.split(CHUNK), strict=True):
        yield to_float(to_uint8(part)), part_labels


def to_float(pixels: Tensor) -> Tensor:
    """uint8 -> [-1, 1]."""
    return pixels.float().div_(127.5).sub_(1)


def untrained(config: RunConfig) -> Model:
    """The model with which training of this config begins, by the way every model takes: saved and loaded."""
    with tempfile.TemporaryDirectory() as folder:
        state = Engine(config, torch.device("cpu")).state_dict()
        return load(checkpoint.save(Path(folder), state, {"config": to_tree(config)}))


def _classifier(train_set: Dataset, folder: Path, seed: int, epochs: int) -> Classifier:
    """The classifier, trained at first use and kept beside the data."""
    spec = ImageSpec(train_set.height, train_set.width, train_set.channels, train_set.num_classes)
    classifier = Classifier(spec, seed)
    file = folder / f"fashion_mnist32_classifier-{train_set.fingerprint[:8]}-seed{seed}-epochs{epochs}.safetensors"
    if file.exists():
        classifier.load_state_dict(safetensors.torch.load_file(file))
        return classifier.eval()
    num_batches = train_set.num_samples * epochs // BATCH
    _say(f"training the classifier: {epochs} epochs of {train_set.num_samples} images, about a minute each on one core")
    began = time.monotonic()
    train(classifier, real_images(train_set, num_batches * BATCH, seed, BATCH), num_batches)
    _say(f"took {time.monotonic() - began:.0f} s")
    safetensors.torch.save_file(classifier.state_dict(), file)
    return classifier


def _dataset(folder: Path, images: Path) -> Dataset:
    """The shards in a folder, packed from an idx file at first use as `biggan-data pack --resolution 32` does."""
    if folder.exists():
        return Dataset.open(folder)
    if not images.exists():
        raise DataError(f"{images}: no such file; apt-get install dataset-fashion-mnist, or give --images")
    _say(f"packing {images} into {folder}")
    return pack(open_source(images), folder, PackOptions((RESOLUTION, RESOLUTION))).dataset


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", metavar="SOURCE", type=Path, help="a run, a checkpoint or an export")
    parser.add_argument("--weights", choices=("ema", "raw"), default="ema", help="averaged (default), or as trained")
    parser.add_argument("--num", type=int, default=10_000, help="images of each kind (default, and at most, 10000)")
    parser.add_argument("--seed", type=int, default=0, help="of the generated images (default 0)")
    parser.add_argument("--classifier-seed", type=int, default=0)
    parser.add_argument("--classifier-epochs", type=int, default=2)
    parser.add_argument("--images", type=Path, default=DEBIAN, help="folder of the idx files (default %(default)s)")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data sets (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default 1)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
