"""Do the codes that a GAN found without labels tell the classes? Over finished runs with a joint prior, as one JSON object.

    python benchmarks/codes.py runs/infogan-seed0 runs/infogan-seed1 --data data/fashion_mnist32

Purity (metrics/clusters.py) of two partitions of the same images into as many parts, K, as the first categorical code has values:

    generated   by the code they were made from; by k-means on their pixels; labels: what a classifier of the real images says
    real        by Q's reading of them (InfoGAN alone has a Q; as trained, not averaged); by k-means on their pixels; labels: their own
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from biggan_scale.config import ConfigError, UserError
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
    prior = model.game.prior
    if not isinstance(prior, Joint) or not prior.config.categories:
        raise ConfigError(f"{run}: its prior has no categorical code")
    k = prior.config.categories[0]
    dataset = open_dataset(args.data, (model.spec.height, model.spec.width), model.spec.channels)
    classifier = extractors.make("classifier", model, source, dataset, no_tick)

    codes, images = generated(model, prior, args.num, args.seed)
    probabilities = torch.cat([seen for part in images.split(CHUNK) if (seen := classifier(part).probabilities) is not None])
    found = {"run": str(run), "seed": source.config.seed, "nimg": source.provenance["nimg"], "num_codes": k}
    found["generated"] = purities(codes, images, probabilities.argmax(1), k)
    if isinstance(model.game, Infogan):
        loader = Loader(dataset, GlobalOrder(dataset.shard_sizes, 0), workers=0, flip=False, seed=0)
        parts = [(to_float(part), labels) for part, labels, _ in loader.ranges((i, i + CHUNK) for i in range(0, args.num, CHUNK))]
        images, labels = (torch.cat(column) for column in zip(*parts, strict=True))
        found["real"] = purities(read(source, images), images, labels, k)
    return found


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
    return {"codes": purity(codes, labels), "k_means": purity(k_means(images.flatten(1), k, seed=0), labels)}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the runs."""
    result: dict[str, Any] = {"num_runs": len(runs)}
    for kind in ("generated", "real"):
        for way in ("codes", "k_means"):
            values = [run[kind][way] for run in runs if kind in run]
            if values:
                result[f"{kind}_{way}"] = {"mean": statistics.mean(values), "std": statistics.stdev(values) if len(values) > 1 else None}
    return result


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="runs, or checkpoints, of games with a joint prior")
    parser.add_argument("--data", required=True, help="labelled images")
    parser.add_argument("--num", type=int, default=5_000, help="images of each kind (default 5000)")
    parser.add_argument("--seed", type=int, default=0, help="of the generated images (default 0)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
