"""The benchmarks run, and print what they promise and nothing else on stdout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz")

PAGE = """
base: tiny.yaml
data: {path: DATA, channels: 1, num_classes: 10, workers: 0}
"""


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([sys.executable, *command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def step(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    small = ["game.generator.channels=8", "game.discriminator.channels=8", "game.generator.attention=[]", "game.discriminator.attention=[]"]
    return json.loads(run(ROOT / "benchmarks/step.py", "--warmup", "0", *arguments, *small, cwd=tmp_path))


def test_step_times_the_rounds_and_images_it_was_asked_for(tmp_path: Path) -> None:
    found = step(tmp_path, "--batch", "4", "--rounds", "2", "--threads", "1")
    assert found["images_per_round"] == 4
    assert len(found["round_s"]["all"]) == 2
    assert found["img_per_s"] == pytest.approx(4 / found["round_s"]["median"], rel=1e-2)
    assert found["peak_rss_mb"] >= found["rss_before_rounds_mb"] > 0
    assert found["threads"] == 1


@pytest.mark.slow  # trains the classifier for an epoch: more than a minute
def test_fashion_mnist_tells_an_untrained_model_from_real_images(tmp_path: Path) -> None:
    if not FASHION_MNIST.exists():
        pytest.skip(f"{FASHION_MNIST} is not there: apt-get install dataset-fashion-mnist")
    (tmp_path / "page.yaml").write_text(PAGE.replace("DATA", str(tmp_path / "data/fashion_mnist32")))
    run("-m", "data_tools", "pack", "--source", FASHION_MNIST, "--out", "data/fashion_mnist32", "--resolution", "32", cwd=tmp_path)
    run("-m", "biggan_scale.cli", "train", "page.yaml", "run_dir=run", "until=2 rounds", cwd=tmp_path)
    options = ["--data", "data", "--num", "500", "--classifier-epochs", "1"]
    found = json.loads(run(ROOT / "benchmarks/fashion_mnist.py", "run", *options, cwd=tmp_path))
    assert found["num"] == 500
    assert found["source"]["nimg"] > 0
    assert found["source"]["data_fingerprint"] == found["data"]["train"]
    assert found["real_test"]["accuracy"] > 0.85
    assert found["real_train"]["frechet"] < 2 < 20 < found["untrained"]["frechet"]
    assert found["untrained"]["accuracy"] < 0.2


def test_saving_compares_the_two_ways() -> None:
    found = json.loads(run(ROOT / "benchmarks/saving.py", "--megabytes", "8", "--rounds", "1", cwd=ROOT))
    assert found["ratio"] == pytest.approx(found["stall_s synchronous"] / found["stall_s beside"], rel=0.2)


def test_codes_are_compared_with_clusters_of_the_pixels(tmp_path: Path) -> None:
    narrow = ["game.generator.channels=4", "game.encoder.channels=4", "game.discriminator.channels=4", "log.tensorboard=false"]
    for seed in ("0", "1"):
        settings = [f"run_dir=run{seed}", f"seed={seed}", "until=1 rounds", "batch_size=8", *narrow]
        run("-m", "biggan_scale.cli", "train", "bigan_tiny", *settings, cwd=tmp_path)
    found = json.loads(run(ROOT / "benchmarks/codes.py", "run0", "run1", "--data", "packaged:emoji64", "--num", "100", cwd=tmp_path))
    of_latents = [one["real"]["latents"] for one in found["runs"]]
    assert found["summary"]["real_latents"]["mean"] == pytest.approx(sum(of_latents) / 2)
    assert found["runs"][0]["num_codes"] == 9
    assert {"features_unit", "features_whitened", "pixels_unit", "pixels_whitened"} <= found["runs"][0]["real"].keys()
    assert found["runs"][0]["real"]["pixels"] == found["runs"][1]["real"]["pixels"]  # they are the same, whatever the run
    assert all(1 / 9 < purity <= 1 for one in found["runs"] for purity in one["real"].values())


def test_data_compares_reading_packing_and_workers() -> None:
    found = json.loads(run(ROOT / "benchmarks/data.py", "--sizes", "16", "--images", "192", "--rounds", "1", cwd=ROOT))["16 px"]
    assert found["reading"]["ratios"].keys() > {"ours / webdataset", "ours / decoder", "ours / stylegan zip", "ours / files"}
    measured = [found["reading"], found["packing"]["jpeg"], found["packing"]["png"], found["workers"]]
    assert [part["rounds"] for part in measured] == [1] * 4
    for part in measured[:3]:
        for pair, (median, least, greatest) in part["ratios"].items():
            one, other = (part["img_per_cpu_s"][name] for name in pair.split(" / "))
            assert least == median == greatest == pytest.approx(one / other, rel=1e-2)
    assert found["workers"]["ratios"].keys() == {"two workers / one"}


def test_penalty_compares_ways_to_one_gradient() -> None:
    small = ["game.generator.channel_base=128", "game.discriminator.channel_base=128", "data.resolution=8", "game.augment=null"]
    options = ["--no-compile", "--batch", "4", "--rounds", "1", "--threads", "1"]
    found = json.loads(run(ROOT / "benchmarks/penalty.py", *options, *small, cwd=ROOT))
    assert found["cpu_s"].keys() == {"eager", "functional", "finite_difference"}
    assert found["largest difference of gradients"] == {"functional": 0}


def test_a_peer_that_is_no_checkout_is_refused_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "benchmarks/step.py", "--game", "stylegan2", "--peer", tmp_path, "--rounds", "1", "--warmup", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("not a checkout of stylegan2-ada-pytorch (no training/networks.py)")
    assert not done.stdout
