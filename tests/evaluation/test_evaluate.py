"""Evaluations of a small model: the numbers by another way, all that is said of them, what is kept, what is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn import functional

from biggan_scale import cli
from biggan_scale.config import ConfigError, load_config
from biggan_scale.data.index import Dataset
from biggan_scale.data.pixels import to_uint8
from biggan_scale.evaluation import evaluate as evaluation
from biggan_scale.evaluation import extractors
from biggan_scale.evaluation.evaluate import evaluate
from biggan_scale.evaluation.request import METRICS, Request
from biggan_scale.export.hub import export_run
from biggan_scale.export.load import load
from biggan_scale.export.source import find
from biggan_scale.metrics import inception
from biggan_scale.metrics.distances import no_tick
from biggan_scale.metrics.features import RandomNetwork
from biggan_scale.metrics.frechet import frechet_distance, statistics
from biggan_scale.metrics.inception import Inception
from evaluation.conftest import NUM_IMAGES, Subject
from support.disk import make_read_only, mounted
from support.runs import flip_a_bit, make_run
from support.shards import make_shards
from support.tiny import shrink, tiny_config


def asked(subject: Subject, *metrics: str, features: str = "random", num: int = 40, **more: Any) -> Request:
    return Request(metrics, features, num, str(subject.data), **more)


def evaluated(subject: Subject, *metrics: str, **how: Any) -> dict[str, Any]:
    return evaluate(subject.run, asked(subject, *metrics, **how))["metrics"]


def eight_bit(images: torch.Tensor) -> torch.Tensor:
    return to_uint8(images).float() / 127.5 - 1


def run_with_encoder(subject: Subject, folder: Path, *overrides: str) -> Subject:
    """The same data, and a BigBiGAN."""
    config = shrink(load_config("bigbigan_tiny", ["batch_size=8", "precision=fp32", *overrides]).config)
    return dataclasses.replace(subject, run=folder, engine=make_run(folder, config))


@pytest.fixture
def with_encoder(subject: Subject, tmp_path: Path) -> Subject:
    return run_with_encoder(subject, tmp_path / "run", "game.encoder_scale=1")


@pytest.fixture
def with_larger_encoder(subject: Subject, tmp_path: Path) -> Subject:
    """Its generator draws at half the size."""
    return run_with_encoder(subject, tmp_path / "run", "game.encoder_scale=2")


# the numbers


def test_the_distance_is_that_of_all_images_at_once(subject: Subject) -> None:
    network = RandomNetwork(3)
    real, _ = subject.real_images(40)
    fake = eight_bit(load(subject.run).sample(40, seed=7, truncation=0.5))
    expected = frechet_distance(*(statistics(network(images).values) for images in (fake, real)))
    found = evaluated(subject, "fid", seed=7, truncation=0.5)["fid"]["value"]
    assert found == pytest.approx(expected, rel=1e-4)


def test_neighbours_in_pixels_are_those_of_numpy(subject: Subject) -> None:
    real = subject.real_images(41)[0].flatten(1).double().numpy()
    fake = eight_bit(load(subject.run).sample(41)).flatten(1).double().numpy()
    among_real = np.linalg.norm(real[:, None] - real[None], axis=2) + np.diag([np.inf] * 41)
    to_real = np.linalg.norm(fake[:, None] - real[None], axis=2)
    found = evaluated(subject, "neighbours", features="pixels", num=41)["neighbours"]
    assert found["fake_to_real"] == pytest.approx(np.median(to_real.min(1)), rel=1e-5)
    assert found["real_to_real"] == pytest.approx(np.median(among_real.min(1)), rel=1e-5)


def test_a_probe_is_judged_on_images_held_out_or_given(subject: Subject, tmp_path: Path) -> None:
    held_out = evaluated(subject, "linear_probe", features="pixels", num=NUM_IMAGES)["linear_probe"]
    assert (held_out["num_train"], held_out["num_test"]) == (48, 12)
    assert held_out["train_accuracy"] == 1  # noise of 3072 numbers: learned by heart
    assert held_out["value"] < 0.9
    again = evaluated(subject, "linear_probe", features="pixels", num=NUM_IMAGES, test_data=str(subject.data))["linear_probe"]
    assert (again["num_train"], again["num_test"], again["value"]) == (60, 60, 1)


def test_a_classifier_of_the_data_judges_classes(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extractors, "CLASSIFIER_IMAGES", 256)
    found = evaluated(subject, "accuracy", "inception_score", "neighbours", features="classifier")
    assert 0 <= found["accuracy"]["value"] <= 1
    assert 1 <= found["inception_score"]["value"] <= 3
    assert 0 <= found["neighbours"]["knn_accuracy"] <= 1

    def fail(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(extractors, "train", fail)
    assert evaluated(subject, "accuracy", features="classifier")["accuracy"] == found["accuracy"]


def test_reconstructions_are_compared_with_what_was_encoded(with_encoder: Subject) -> None:
    found = evaluated(with_encoder, "reconstruction", features="pixels", num=16)["reconstruction"]
    images, _ = with_encoder.real_images(16)
    model = load(with_encoder.run)
    rebuilt = eight_bit(model.generator(model.encoder(images)))
    assert found["pixels_rms"] == pytest.approx(float((images - rebuilt).square().mean().sqrt()), rel=1e-4)
    others = torch.cat([images[:8].roll(1, 0), images[8:].roll(1, 0)])
    assert found["pixels_relative"] == pytest.approx(found["pixels_rms"] / float((images - others).square().mean().sqrt()), rel=1e-4)


def test_features_of_the_encoder_are_what_a_probe_reads(with_encoder: Subject) -> None:
    found = evaluated(with_encoder, "fid", features="encoder")["fid"]["value"]
    model = load(with_encoder.run)
    real, fake = (model.encoder.features(images) for images in (with_encoder.real_images(40)[0], eight_bit(model.sample(40))))
    assert found == pytest.approx(frechet_distance(statistics(fake), statistics(real)), rel=1e-3)


def test_where_images_are_drawn_smaller_the_real_ones_are_averaged_to_them(with_larger_encoder: Subject) -> None:
    network = RandomNetwork(3)
    real = network(functional.avg_pool2d(with_larger_encoder.real_images(40)[0], 2)).values
    fake = network(eight_bit(load(with_larger_encoder.run).sample(40))).values
    found = evaluated(with_larger_encoder, "fid", "reconstruction")
    assert found["fid"]["value"] == pytest.approx(frechet_distance(statistics(fake), statistics(real)), rel=1e-4)
    assert found["reconstruction"]["pixels_relative"] > 0
    assert 0 <= evaluated(with_larger_encoder, "linear_probe", features="encoder")["linear_probe"]["value"] <= 1
    with pytest.raises(ConfigError, match="fid needs it to see generated images, which are smaller than what it takes"):
        evaluated(with_larger_encoder, "fid", features="encoder")


def test_features_of_the_discriminator_are_those_it_was_trained_to(subject: Subject) -> None:
    found = evaluated(subject, "fid", features="discriminator")["fid"]["value"]
    discriminator = subject.engine.game.D.eval()
    with torch.no_grad():
        real, fake = (discriminator.features(images) for images in (subject.real_images(40)[0], eight_bit(load(subject.run).sample(40))))
    discriminator.train()
    assert found == pytest.approx(frechet_distance(statistics(fake), statistics(real)), rel=1e-3)


# what is said of them


def test_every_number_has_its_provenance(subject: Subject, tmp_path: Path) -> None:
    request = asked(subject, "fid", "kid", "prdc", truncation=0.7, seed=3)
    result = evaluate(subject.run, request, "raw")
    (checkpoint,) = (subject.run / "checkpoints").iterdir()
    manifest = json.loads((checkpoint / "MANIFEST.json").read_text())
    source = result["source"]
    assert source["path"] == str(checkpoint)
    assert (source["weights"], source["nimg"], source["state_sha256"]) == ("raw", manifest["nimg"], manifest["state_sha256"])
    assert source["weights_sha256"] == manifest["files"]["model.safetensors"]["sha256"]
    data = json.loads((subject.data / "dataset.json").read_text())
    assert result["data"]["real"]["fingerprint"] == data["fingerprint"]
    assert (result["data"]["real"]["num"], result["data"]["real"]["num_samples"]) == (40, NUM_IMAGES)
    assert result["data"]["real"]["is_training_data"] is False
    assert result["fake"] == {"num": 40, "seed": 3, "truncation": 0.7, "labels": "uniform"}
    assert result["features"]["name"] == "random"
    assert result["features"]["comparable_with_papers"] is False
    assert len(result["features"]["sha256"]) == 64
    assert set(result["metrics"]) == {"fid", "kid", "prdc"}
    assert json.loads(json.dumps(result, allow_nan=False)) == result


@pytest.fixture
def inception_file(tmp_path: Path) -> Path:
    """Weights as they are initialised: not the published ones, which are not here."""
    save_file({name: t.contiguous() for name, t in Inception().state_dict().items()}, tmp_path / "inception.safetensors")
    return tmp_path / "inception.safetensors"


def test_inceptions_numbers_are_comparable_with_papers_by_the_published_weights_alone(
    subject: Subject, inception_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, dataset = load(subject.run), Dataset.open(subject.data)

    def about() -> dict[str, Any]:
        return extractors.make(str(inception_file), model, find(subject.run), dataset, no_tick).about

    assert (about()["name"], about()["comparable_with_papers"]) == ("inception", False)
    monkeypatch.setattr(inception, "PUBLISHED_SHA256", hashlib.sha256(inception_file.read_bytes()).hexdigest()[:8])
    assert about()["comparable_with_papers"] is True


@pytest.mark.slow  # 24 images through Inception
def test_a_file_of_inceptions_weights_gives_features_and_classes(subject: Subject, inception_file: Path) -> None:
    found = evaluate(subject.run, asked(subject, "inception_score", features=str(inception_file), num=10))["metrics"]
    assert 1 <= found["inception_score"]["value"] <= 1008
    found = evaluate(subject.run, asked(subject, "fid", features=str(inception_file), num=8))["metrics"]
    assert found["fid"]["features"] == "inception"
    assert found["fid"]["value"] > 0


def test_people_get_a_table_and_programs_an_object(subject: Subject, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", str(subject.run), "--data", str(subject.data), "--metrics", "prdc", "--num", "20"]
    assert cli.main(command) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.endswith(", 16 images seen, ema weights")
    assert second == "features: random, a fixed random convolutional network, never trained; not comparable with papers"
    assert cli.main([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert third.split()[:3] == ["prdc", "precision", f"{result['metrics']['prdc']['precision']:.4g},"]


def test_more_features_than_images_are_warned_of(subject: Subject) -> None:
    with pytest.warns(UserWarning, match="40 images for 512 features"):
        result = evaluate(subject.run, asked(subject, "fid"))
    assert len(result["warnings"]) == 1


def test_a_runs_evaluations_are_appended_to_it(subject: Subject, tmp_path: Path) -> None:
    record = subject.run / "evaluations.jsonl"
    before = len(record.read_text().splitlines()) if record.exists() else 0
    result = evaluate(subject.run, asked(subject, "prdc"))
    lines = record.read_text().splitlines()
    assert len(lines) == before + 1
    assert json.loads(lines[-1]) == result
    export_run(subject.run, tmp_path / "export")
    of_export = evaluate(tmp_path / "export", asked(subject, "prdc"))
    assert of_export["metrics"] == result["metrics"]
    assert len(record.read_text().splitlines()) == before + 1
    assert not (tmp_path / "export" / "evaluations.jsonl").exists()


def test_a_run_that_may_only_be_read_is_evaluated_and_what_is_not_recorded_is_said(
    subject: Subject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mounted(tmp_path / "disk", "16m") as place:
        run = shutil.copytree(subject.run, place / "run")
        (run / "evaluations.jsonl").unlink(missing_ok=True)
        make_read_only(place)
        with pytest.warns(UserWarning, match=f"{run}/evaluations.jsonl cannot be written: Read-only file system; this result is not"):
            assert cli.main(["evaluate", str(run), "--data", str(subject.data), "--metrics", "prdc", "--num", "40", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metrics"] == evaluate(subject.run, asked(subject, "prdc"))["metrics"]
    assert len(found["warnings"]) == 1 and "not recorded" in found["warnings"][0]


# what is kept


def test_features_of_real_images_are_kept_with_what_they_are_of(subject: Subject, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = evaluated(subject, "prdc")
    (kept,) = (cache / "features").iterdir()
    with safe_open(kept, "pt") as file:
        assert json.loads(file.metadata()["computed_from"])["num"] == 40
        assert file.get_slice("features").get_shape() == [40, 512]

    def fail(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(evaluation, "real", fail)
    assert evaluated(subject, "prdc") == first
    with pytest.raises(AssertionError, match="computed again"):
        evaluated(subject, "prdc", num=41)


def test_a_damaged_file_is_replaced(subject: Subject, cache: Path) -> None:
    first = evaluated(subject, "prdc")
    (kept,) = (cache / "features").iterdir()
    intact = kept.read_bytes()
    kept.write_bytes(intact[:1000])
    with pytest.warns(UserWarning, match="computing it again"):
        assert evaluated(subject, "prdc") == first
    assert kept.read_bytes() == intact


def test_features_of_other_images_in_its_place_are_not_taken(subject: Subject, cache: Path) -> None:
    first = evaluated(subject, "prdc")
    evaluated(subject, "prdc", num=50)
    ours, others = sorted((cache / "features").iterdir(), key=lambda path: path.stat().st_size)
    ours.write_bytes(others.read_bytes())
    assert evaluated(subject, "prdc") == first


# what is refused


@pytest.mark.parametrize(
    ("metrics", "how", "message"),
    [
        (("reconstruction",), {}, "this model has no encoder: a gan keeps G"),
        (("fid",), {"features": "encoder"}, "this model has no encoder: a gan keeps G"),
        (("fid",), {"truncation": -1.0}, "truncation -1.0 must be above 0"),
    ],
)
def test_what_the_model_has_not_is_told(subject: Subject, metrics: tuple[str, ...], how: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        evaluated(subject, *metrics, **how)
    assert str(error.value) == message


def test_an_export_has_no_discriminator(subject: Subject, tmp_path: Path) -> None:
    export_run(subject.run, tmp_path / "export")
    with pytest.raises(ConfigError, match="an export has no discriminator; give the run or one of its checkpoints"):
        evaluate(tmp_path / "export", asked(subject, "fid", features="discriminator"))


def test_data_that_do_not_fit_are_told(subject: Subject, tmp_path: Path) -> None:
    small = make_shards(tmp_path / "small", num=20).dataset.path
    unlabelled = make_shards(tmp_path / "unlabelled", num=8, resolution=(32, 32), use_labels=False).dataset.path
    for data, metric, message in [
        (small, "fid", "images are 12x12 with 3 channels, the model's 32x32 with 3 channels; pack them again"),
        (unlabelled, "linear_probe", "has 8 images; linear_probe needs at least 10"),
        (unlabelled, "accuracy", "is trained on the labels of --data, which has none"),
        ("stream:x.tar", "fid", "a stream has no fixed samples to measure on"),
    ]:
        with pytest.raises(ConfigError, match=message):
            evaluate(subject.run, Request((metric,), "classifier" if metric == "accuracy" else "random", 40, str(data)))


def test_every_metric_has_a_measure() -> None:
    from biggan_scale.evaluation.measures import MEASURES

    assert list(MEASURES) == list(METRICS)


def test_a_flipped_bit_of_the_checkpoint_is_noticed(subject: Subject, tmp_path: Path) -> None:
    make_run(tmp_path / "run", tiny_config("precision=fp32", "data.num_classes=3"))
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    flip_a_bit(checkpoint / "model.safetensors")
    with pytest.warns(UserWarning, match="does not match its sha256"), pytest.raises(Exception, match="no valid checkpoint"):
        evaluate(tmp_path / "run", asked(subject, "fid"))
