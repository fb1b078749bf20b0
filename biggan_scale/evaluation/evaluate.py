"""`biggan-scale evaluate`: the numbers of a model, each with all that it depends on, by one process or many.

Features of real and of generated images are computed by all ranks (`collect.py`), the metrics by rank 0 (`measures.py`). The
features of real images are kept for the next evaluation. A signal ends it within a chunk, and then nothing is written.
"""

from __future__ import annotations

import math
import platform
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from biggan_scale import __version__
from biggan_scale.config import json_lines
from biggan_scale.config.errors import ConfigError
from biggan_scale.data.index import Dataset
from biggan_scale.data.packaged import cache_directory, open_dataset
from biggan_scale.data.streaming import PREFIX as STREAM
from biggan_scale.dist import process_group
from biggan_scale.editing.paths import space
from biggan_scale.engine.best import EVALUATIONS
from biggan_scale.engine.signals import StopFlag
from biggan_scale.evaluation import cache, extractors
from biggan_scale.evaluation.collect import REAL_ORDER_SEED, Observed, collect, fake, paths, real, reconstructed
from biggan_scale.evaluation.extractors import Extractor
from biggan_scale.evaluation.measures import MEASURES, Evidence
from biggan_scale.evaluation.request import METRICS, Request
from biggan_scale.export.load import Model
from biggan_scale.export.source import Source, Weights, find, sha256

RANKS_WAIT = timedelta(hours=24)  # while rank 0 computes the metrics, which of many images takes longer than ranks are usually waited for

Progress = Callable[[int, int], object]


def evaluate(
    source: str | Path, request: Request, weights: Weights = "ema", progress: Progress = lambda done, total: None
) -> dict[str, Any]:
    """Evaluates the model at `source`, together with the other ranks, if the environment says there are any.

    Args:
        source: a run, a checkpoint or an export. To a run's evaluations.jsonl the result is appended.
        progress: called on rank 0 with the number of images seen and their total.

    Returns:
        The result, as JSON has it: "metrics" by name, and all that they depend on.

    Raises:
        ConfigError, DataError, CheckpointError: what was asked for cannot be had.
        Preempted: a signal came.
    """
    with StopFlag() as stop, ExitStack() as stack:
        ranks = process_group.start(RANKS_WAIT)
        stack.callback(process_group.stop)
        found = process_group.on_main(lambda: find(source, weights))
        model = Model(found, ranks.device, stop.check)
        subject = Subject(found, model, request, *_open(request, model))
        process_group.on_main(subject.check)
        extractor = extractors.make(request.features, model, found, subject.dataset, stop.check_here)
        evidence = Observer(subject, extractor, stop, progress).observe()
        return process_group.on_main(lambda: _recorded(Path(source), _result(subject, extractor, evidence)))


@dataclass(frozen=True)
class Subject:
    """What is evaluated, how, and on which data."""

    source: Source
    model: Model
    request: Request
    dataset: Dataset
    test_set: Dataset | None

    @property
    def num_real(self) -> int:
        return min(self.request.num, self.dataset.num_samples)

    @property
    def num_test(self) -> int:
        return min(self.request.num, self.test_set.num_samples) if self.test_set else 0

    def check(self) -> None:
        """Raises ConfigError for what these data or this model do not have."""
        request, data = self.request, self.dataset
        self.model.check_request(request.num, request.truncation, None)
        extractors.check(request.features, self.model, self.source, data)
        for name in request.metrics:
            fewest = METRICS[name].fewest
            if self.num_real < fewest:
                raise ConfigError(f"--data {request.data}: has {self.num_real} images; {name} needs at least {fewest}")
        if (labelled := request.first_that("labels")) and not data.classes:
            raise ConfigError(f"--data {request.data}: has no labels, which {labelled} needs")
        if (conditional := request.first_that("conditional")) and self.model.spec.num_classes != data.num_classes:
            raise ConfigError(
                f"--metrics {conditional}: the model has {self.model.spec.num_classes or 'no'} classes, "
                f"--data {request.data} has {data.num_classes or 'none'}"
            )
        if request.first_that("reconstructed"):
            _ = self.model.encoder
        drawn = request.first_that("fake") or request.first_that("reconstructed") or request.first_that("paths")
        if drawn and request.features == "encoder" and self.model.game.generated_spec() != self.model.spec:
            raise ConfigError(f"--features encoder: {drawn} needs it to see generated images, which are smaller than what it takes")
        if self.test_set and self.test_set.classes != data.classes:
            raise ConfigError(f"--test-data {request.test_data}: its classes are not those of --data {request.data}")


@dataclass
class Observer:
    """Computes what the metrics of a request need; all ranks together, for rank 0."""

    subject: Subject
    extractor: Extractor
    stop: StopFlag
    progress: Progress
    done: int = 0

    def observe(self) -> Evidence:
        subject, model, request = self.subject, self.subject.model, self.subject.request
        evidence = Evidence(subject.dataset.num_classes, request.seed, self.stop.check_here)
        if request.first_that("real"):
            evidence.real = self._real(subject.dataset, subject.num_real)
            if subject.test_set:
                evidence.test = self._real(subject.test_set, subject.num_test)
        if request.first_that("fake"):
            evidence.fake = self._collect(fake(model, self.extractor, request.seed, request.truncation), request.num)
        if request.first_that("reconstructed"):
            evidence.reconstructed = self._collect(reconstructed(subject.dataset, self.extractor, model), subject.num_real)
        if request.first_that("paths"):
            evidence.paths = self._collect(paths(model, self.extractor, request.seed, request.truncation), request.num)
            evidence.path_space = space(model)
        return evidence

    def _real(self, dataset: Dataset, num: int) -> Observed:
        """Features of the first `num` real images, kept from an earlier evaluation where they are worth it."""
        spec = self.subject.model.game.generated_spec()
        identity = {
            "data_fingerprint": dataset.fingerprint,
            "features_sha256": self.extractor.about["sha256"],
            "num": num,
            "order_seed": REAL_ORDER_SEED,
            "size": [spec.height, spec.width],
            "torch": torch.__version__,
            "device": self.subject.model.device.type,
        }
        name = f"{dataset.fingerprint[:16]}-{self.extractor.about['name']}-{self.extractor.about['sha256'][:16]}-{num}.safetensors"
        file = cache_directory() / "features" / name
        is_keeper = self.extractor.is_worth_keeping and process_group.rank() == 0
        kept = cache.read(file, identity) if is_keeper else None
        if process_group.from_main(kept is not None):
            self._count(num)
            return kept or {}
        observed = self._collect(real(dataset, self.extractor, self.subject.model), num)
        if is_keeper:
            cache.write(file, observed, identity)
        return observed

    def _collect(self, pieces: Iterator[Observed], num: int) -> Observed:
        return collect(pieces, num, self.subject.model.chunk_size, self.stop, self._count)

    def _count(self, number: int) -> None:
        subject, request = self.subject, self.subject.request
        total = 0
        if request.first_that("real"):
            total += subject.num_real + subject.num_test
        if request.first_that("fake"):
            total += request.num
        if request.first_that("reconstructed"):
            total += subject.num_real
        if request.first_that("paths"):
            total += request.num
        self.done += number
        if process_group.rank() == 0:
            self.progress(self.done, total)


def _open(request: Request, model: Model) -> tuple[Dataset, Dataset | None]:
    """The data sets of a request, of images like the model's."""
    process_group.on_main(lambda: _open_one("--data", request.data, model) and None)  # one rank looks (and packs) first
    if request.test_data is None:
        return _open_one("--data", request.data, model), None
    process_group.on_main(lambda: _open_one("--test-data", str(request.test_data), model) and None)
    return _open_one("--data", request.data, model), _open_one("--test-data", request.test_data, model)


def _open_one(option: str, path: str, model: Model) -> Dataset:
    if path.startswith(STREAM):
        raise ConfigError(f"{option} {path}: a stream has no fixed samples to measure on; index the tars by `biggan-data index`")
    spec = model.spec
    dataset = open_dataset(path, (spec.height, spec.width), spec.channels)
    have, want = (dataset.height, dataset.width, dataset.channels), (spec.height, spec.width, spec.channels)
    if have != want:
        raise ConfigError(f"{option} {path}: images are {_size(have)}, the model's {_size(want)}; pack them again in its size")
    return dataset


def _size(shape: tuple[int, int, int]) -> str:
    return f"{shape[0]}x{shape[1]} with {shape[2]} channel{'s' * (shape[2] != 1)}"


def _result(subject: Subject, extractor: Extractor, evidence: Evidence) -> dict[str, Any]:
    """The numbers and their provenance."""
    warned = _warned(subject.request, evidence)
    for message in warned:
        warnings.warn(message, stacklevel=2)
    metrics = {}
    for name in subject.request.metrics:
        evidence.tick()
        values = MEASURES[name](evidence) | {"features": extractor.about["name"]}
        metrics[name] = {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in values.items()}
    return {"metrics": metrics, "warnings": warned, **_provenance(subject, extractor, evidence)}


def _warned(request: Request, evidence: Evidence) -> list[str]:
    if "fid" not in request.metrics:
        return []
    dim = evidence.real["features"].shape[1]
    fewest = min(len(evidence.real["features"]), len(evidence.fake["features"]))
    return [f"fid: {fewest} images for {dim} features: covariances are singular, and the distance says much of that"] * (fewest <= dim)


def _provenance(subject: Subject, extractor: Extractor, evidence: Evidence) -> dict[str, Any]:
    source, model, request = subject.source, subject.model, subject.request
    data = {"real": _about_data(subject.dataset, request.data, subject.num_real)}
    data["real"]["is_training_data"] = model.provenance.get("data_fingerprint") == subject.dataset.fingerprint
    if subject.test_set:
        data["test"] = _about_data(subject.test_set, str(request.test_data), subject.num_test)
    sampling = {
        "num": request.num,
        "seed": request.seed,
        "truncation": request.truncation,
        "labels": "uniform" if model.spec.num_classes else None,
    }
    return {
        "source": {"path": str(source.path.absolute()), **model.provenance, "weights_sha256": sha256(source.file)},
        "data": data,
        "fake": sampling if evidence.fake or evidence.paths else None,
        "features": extractor.about,
        "version": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": str(model.device),
        "ranks": process_group.world(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": shlex.join(sys.argv),
    }


def _about_data(dataset: Dataset, path: str, num: int) -> dict[str, Any]:
    return {"path": path, "fingerprint": dataset.fingerprint, "num_samples": dataset.num_samples, "num": num, "order_seed": REAL_ORDER_SEED}


def _recorded(source: Path, result: dict[str, Any]) -> dict[str, Any]:
    """The result, appended to the evaluations of the run, where the source is one. Where that cannot be, say of another's run that may
    only be read, the result is all the same what was asked for: that it is recorded nowhere is one of its warnings."""
    if (source / "checkpoints").is_dir():
        try:
            json_lines.append(source / EVALUATIONS, result)
        except OSError as error:
            message = f"{source / EVALUATIONS} cannot be written: {error.strerror or error}; this result is not recorded there"
            warnings.warn(message, stacklevel=2)
            result["warnings"].append(message)
    return result
