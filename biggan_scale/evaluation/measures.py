"""From features to numbers: each metric of `request.METRICS` by its name, on rank 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from biggan_scale.evaluation.collect import Observed
from biggan_scale.metrics import inception_score, kid, linear_probe, neighbours, perceptual_path, prdc, reconstruction
from biggan_scale.metrics.distances import Tick
from biggan_scale.metrics.frechet import distance_of_features

HELD_OUT = 5  # one real image in so many is for testing, where no other test data are given


@dataclass
class Evidence:
    """What was observed. Of the kinds that no metric asked for there is nothing."""

    num_classes: int  # of the data
    seed: int
    tick: Tick
    real: Observed = field(default_factory=dict)
    fake: Observed = field(default_factory=dict)
    test: Observed = field(default_factory=dict)
    reconstructed: Observed = field(default_factory=dict)
    paths: Observed = field(default_factory=dict)
    path_space: str = ""

    def train_and_test(self) -> tuple[Observed, Observed]:
        """Real images to learn from, and others to be judged on."""
        if self.test:
            return self.real, self.test
        cut = len(self.real["features"]) - max(len(self.real["features"]) // HELD_OUT, 1)
        return {name: t[:cut] for name, t in self.real.items()}, {name: t[cut:] for name, t in self.real.items()}


Values = dict[str, Any]


def fid(evidence: Evidence) -> Values:
    return {"value": distance_of_features(evidence.real["features"], evidence.fake["features"])}


def kernel(evidence: Evidence) -> Values:
    real, fake = evidence.real["features"], evidence.fake["features"]
    subsets = kid.subsets(len(real), len(fake), evidence.seed)
    mean, std = kid.kid(real, fake, subsets, evidence.tick)
    return {"value": mean, "std": std, "num_subsets": len(subsets), "subset_size": len(subsets[0][0])}


def precision_and_recall(evidence: Evidence) -> Values:
    k = prdc.NUM_NEIGHBOURS
    return prdc.prdc(evidence.real["features"], evidence.fake["features"], k, evidence.tick)._asdict() | {"k": k}


def score(evidence: Evidence) -> Values:
    mean, std = inception_score.inception_score(evidence.fake["probabilities"])
    return {"value": mean, "std": std, "num_splits": inception_score.NUM_SPLITS}


def accuracy(evidence: Evidence) -> Values:
    return {"value": _found(evidence.fake)} | ({"real": _found(evidence.real)} if evidence.real else {})


def nearest(evidence: Evidence) -> Values:
    real, fake = evidence.real["features"], evidence.fake["features"]
    values: Values = neighbours.memorisation(real, fake, evidence.tick)._asdict()
    if "labels" in evidence.real:
        train, test = evidence.train_and_test()
        k = min(neighbours.NUM_NEIGHBOURS, len(train["features"]))
        found = neighbours.knn_accuracy(train["features"], train["labels"], test["features"], test["labels"], k, evidence.tick)
        values |= {"knn_accuracy": found, "k": k} | _sizes(train, test)
    return values


def probe(evidence: Evidence) -> Values:
    train, test = evidence.train_and_test()
    return _probed(train["features"], test["features"], train, test, evidence)


def rectified_probe(evidence: Evidence) -> Values:
    train, test = evidence.train_and_test()
    return _probed(*linear_probe.rectified(train["features"], test["features"]), train, test, evidence)


def rebuilt(evidence: Evidence) -> Values:
    seen = evidence.reconstructed
    values: Values = {}
    for what in ("pixels", "features"):
        apart = reconstruction.distance(seen[f"{what}_apart"], seen[f"{what}_unrelated"])
        values |= {f"{what}_rms": apart.rms, f"{what}_relative": apart.relative}
    if "probabilities" in seen:
        values["same_class"] = reconstruction.agreement(seen["probabilities"], seen["rebuilt_probabilities"])
        values["same_class_unrelated"] = reconstruction.agreement(seen["probabilities"].roll(1, 0), seen["rebuilt_probabilities"])
    return values


def path_length(evidence: Evidence) -> Values:
    values = evidence.paths["path_lengths"]
    return {
        "value": perceptual_path.mean_without_outliers(values),
        "median": float(values.median()),
        "space": evidence.path_space,
        "epsilon": perceptual_path.EPSILON,
    }


MEASURES: dict[str, Callable[[Evidence], Values]] = {
    "fid": fid,
    "kid": kernel,
    "prdc": precision_and_recall,
    "inception_score": score,
    "accuracy": accuracy,
    "neighbours": nearest,
    "linear_probe": probe,
    "linear_probe_crelu": rectified_probe,
    "reconstruction": rebuilt,
    "ppl": path_length,
}


def _found(observed: Observed) -> float:
    """The share of images whose label the classifier finds."""
    return float((observed["probabilities"].argmax(1) == observed["labels"]).double().mean())


def _probed(train_features: Tensor, test_features: Tensor, train: Observed, test: Observed, evidence: Evidence) -> Values:
    fitted = linear_probe.fit(train_features, train["labels"], evidence.num_classes, tick=evidence.tick)
    return {
        "value": fitted.accuracy(test_features, test["labels"]),
        "train_accuracy": fitted.accuracy(train_features, train["labels"]),
        "decay": linear_probe.DECAY,
    } | _sizes(train, test)


def _sizes(train: Observed, test: Observed) -> Values:
    return {"num_train": len(train["features"]), "num_test": len(test["features"])}
