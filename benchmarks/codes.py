"""Do the codes that a GAN found without labels tell the classes? Over finished runs of one kind, as one JSON object.

    python benchmarks/codes.py runs/infogan-seed0 runs/infogan-seed1 --data data/fashion_mnist32
    python benchmarks/codes.py runs/bigbigan-seed0 runs/bigbigan-seed1 --data data/fashion_mnist32

Purity (metrics/clusters.py) of partitions of the same images into as many parts, K, as the first categorical code has values; for a game
with an encoder, as there are classes:

    generated   by the code they were made from; by k-means on their pixels; labels: what a classifier of the real images says
    real        by Q's reading of them (InfoGAN alone has a Q; as trained, not averaged), or by k-means on what the encoder makes of them:
                its latent vectors, its features, and those before training; by the largest value of the first code where z has one;
                by k-means on their pixels; labels: their own

k-means is given points as they are, or `scaled`: each coordinate to mean 0 and deviation 1; with an encoder also `unit`: each point to
length 1; and `whitened`: to as many principal components as z has values, each of deviation 1, then to length 1 (Caron et al. 2018,
"DeepCluster", 1807.05520, section 3.3, who keep 256).
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from encoders import untrained
from torch import Tensor

from biggan_scale.config import ConfigError, ImageSpec, UserError
from biggan_scale.data.index import Dataset
from biggan_scale.data.loader import Loader
from biggan_scale.data.order import GlobalOrder
from biggan_scale.data.packaged import open_dataset
from biggan_scale.data.pixels import to_uint8
from biggan_scale.dist.seeds import Noise
from biggan_scale.engine import checkpoint
from biggan_scale.engine.loop import Engine
from biggan_scale.evaluation import extractors
from biggan_scale.evaluation.extractors import to_float
from biggan_scale.export.load import Model
from biggan_scale.export.source import Source, find
from biggan_scale.games.infogan import Infogan
from biggan_scale.latent.joint import Joint
from biggan_scale.metrics.clusters import k_means, purity
from biggan_scale.metrics.distances import no_tick

CPU = torch.device("cpu")
CHUNK = 100


def main() -> int:
    args = _arguments()
    torch.set_num_threads(1)
    try:
        runs = [measured(run, args) for run in args.runs]
    except UserError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps({"summary": summary(runs), "runs": runs, "num": args.num, "data": args.data, "torch": torch.__version__}, indent=1))
    return 0


@torch.no_grad()
def measured(run: Path, args: argparse.Namespace) -> dict[str, Any]:
    """The purities of one run."""
    print(f"measuring {run}", file=sys.stderr, flush=True)
    source = find(run)
    model = Model(source, CPU)
    dataset = open_dataset(args.data, (model.spec.height, model.spec.width), model.spec.channels)
    found: dict[str, Any] = {
        "run": str(run),
        "game": source.config.game.type,
        "seed": source.config.seed,
        "nimg": source.provenance["nimg"],
    }
    prior = getattr(model.game, "prior", None)
    if "E" in model.game.averaged():
        k = dataset.num_classes
        images, labels = real(dataset, args.num)
        latents = torch.cat([model.encoder(part) for part in images.split(CHUNK)])
        with untrained(source.config) as begun:
            before = encoded(Model(find(begun), CPU), images)
        compared = {"latents": purity(k_means(latents, k, seed=0), labels)}
        if isinstance(prior, Joint) and prior.config.categories:
            compared["codes"] = purity(prior.split(latents).categorical[0].argmax(1), labels)
        for name, values in (("features", encoded(model, images)), ("untrained", before)):
            compared |= clustered(name, values, labels, k, latents.shape[1])
        return found | {"num_codes": k, "real": compared | clustered_pixels(args.data, model.spec, args.num, latents.shape[1])}
    if not isinstance(prior, Joint) or not prior.config.categories:
        raise ConfigError(f"{run}: it has no encoder, and its prior has no categorical code")
    k = prior.config.categories[0]
    classifier = extractors.make("classifier", model, source, dataset, no_tick)

    codes, images = generated(model, prior, args.num, args.seed)
    probabilities = torch.cat([seen for part in images.split(CHUNK) if (seen := classifier(part).probabilities) is not None])
    found |= {"num_codes": k, "generated": purities(codes, images, probabilities.argmax(1), k)}
    if isinstance(model.game, Infogan):
        images, labels = real(dataset, args.num)
        found["real"] = purities(read(source, images), images, labels, k)
    return found


def encoded(model: Model, images: Tensor) -> Tensor:
    """(N, num_features): the encoder's features of images."""
    return torch.cat([model.encoder.features(part) for part in images.split(CHUNK)])


def real(dataset: Dataset, num: int) -> tuple[Tensor, Tensor]:
    """(num, C, H, W) images in [-1, 1], and their (num,) classes."""
    loader = Loader(dataset, GlobalOrder(dataset.shard_sizes, 0), workers=0, flip=False, seed=0)
    parts = [(to_float(part), labels) for part, labels, _ in loader.ranges((i, i + CHUNK) for i in range(0, num, CHUNK))]
    images, labels = (torch.cat(column) for column in zip(*parts, strict=True))
    return images, labels


def generated(model: Model, prior: Joint, num: int, seed: int) -> tuple[Tensor, Tensor]:
    """(num,) values of the first code, and the images made from them, rounded to 8 bits as real ones are."""
    codes, images = [], []
    for start in range(0, num, CHUNK):
        draw = model.game.latents(Noise(seed, range(start, start + CHUNK), "sample"))
        codes.append(prior.split(draw["z"]).categorical[0].argmax(1))
        images.append(to_float(to_uint8(model.game.generate(draw))))
    return torch.cat(codes), torch.cat(images)


def read(source: Source, images: Tensor) -> Tensor:
    """What Q takes for the first code of images."""
    engine = Engine(source.config, CPU)
    engine.load_state_dict(checkpoint.load(source.path))
    game = engine.game.eval()
    assert isinstance(game, Infogan)
    return torch.cat([game.Q(game.D.features(part))[1][0].argmax(1) for part in images.split(CHUNK)])


def purities(codes: Tensor, images: Tensor, labels: Tensor, k: int) -> dict[str, float]:
    pixels = images.flatten(1)
    return {
        "codes": purity(codes, labels),
        "pixels": purity(k_means(pixels, k, seed=0), labels),
        "pixels_scaled": purity(k_means(scaled(pixels), k, seed=0), labels),
    }


def clustered(name: str, points: Tensor, labels: Tensor, k: int, num_components: int) -> dict[str, float]:
    """The purity of k clusters of (N, D) points in each of the ways above, under this name."""
    ways = {"": points, "_scaled": scaled(points), "_unit": F.normalize(points), "_whitened": whitened(points, num_components)}
    return {name + way: purity(k_means(values, k, seed=0), labels) for way, values in ways.items()}


@functools.cache
def clustered_pixels(data: str, spec: ImageSpec, num: int, num_components: int) -> dict[str, float]:
    """The same for the pixels, which many runs share."""
    dataset = open_dataset(data, (spec.height, spec.width), spec.channels)
    images, labels = real(dataset, num)
    return clustered("pixels", images.flatten(1), labels, dataset.num_classes, num_components)


def scaled(features: Tensor) -> Tensor:
    """(N, D) with mean 0 and deviation 1 of each feature; constant ones stay 0."""
    centred = features - features.mean(0)
    deviation = centred.std(0)
    return torch.where(deviation > 0, centred / deviation, 0)


def whitened(features: Tensor, num_components: int) -> Tensor:
    """(N, num_components) of length 1."""
    components = torch.linalg.svd((features - features.mean(0)).double(), full_matrices=False).U[:, :num_components]
    return F.normalize(components.to(features.dtype))


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the runs of each purity that all of them have."""
    result: dict[str, Any] = {"num_runs": len(runs)}
    for kind in ("generated", "real"):
        found = [run.get(kind, {}) for run in runs]
        for way in [way for way in found[0] if all(way in one for one in found)]:
            values = [one[way] for one in found]
            result[f"{kind}_{way}"] = {"mean": statistics.mean(values), "std": statistics.stdev(values) if len(values) > 1 else None}
    return result


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="runs, or checkpoints, with a categorical code or an encoder")
    parser.add_argument("--data", required=True, help="labelled images")
    parser.add_argument("--num", type=int, default=5_000, help="images of each kind (default 5000)")
    parser.add_argument("--seed", type=int, default=0, help="of the generated images (default 0)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
