"""The command `biggan-data`: what it prints where, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from biggan_scale.data.index import Dataset
from data_tools.cli import main
from support.shards import make_folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    make_folder(tmp_path / "images", num=30)
    return tmp_path / "images"


def test_pack_verify_and_preview(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "shards")
    assert main(["pack", "--source", str(images), "--out", out, "--resolution", "8", "--shard-size", "20kB", "--workers", "2"]) == 0
    assert "30 images of 3 classes, 8x8, 3 channels, png" in capsys.readouterr().out
    assert main(["verify", out]) == 0
    assert "all as they were packed" in capsys.readouterr().out
    assert main(["preview", out, "--out", str(tmp_path / "sheet.png"), "--columns", "4"]) == 0
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape[0] == 3 * (8 + 2) + 2 and sheet.std() > 30


def test_json_is_all_there_is_on_stdout(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "shards")
    assert main(["pack", "--source", str(images), "--out", out, "--json", "--encode", "raw", "--workers", "0"]) == 0
    packed = json.loads(capsys.readouterr().out)
    assert packed["images"] == 30 and packed["fingerprint"] == Dataset.open(out).fingerprint
    assert main(["verify", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == []
    (tmp_path / "shards" / "dataset.json").unlink()
    assert main(["index", out, "--json"]) == 0
    indexed = json.loads(capsys.readouterr().out)
    assert (indexed["images"], indexed["classes"], indexed["shards"]) == (30, 3, 1)


def test_bad_images_stop_the_pack_or_are_reported(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (images / "ant" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    assert main(["pack", "--source", str(images), "--out", str(tmp_path / "a"), "--workers", "0"]) == 3
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("biggan-data pack: ") and "ant/broken.png: not an image that can be read" in line
    assert not (tmp_path / "a" / "dataset.json").exists()
    assert main(["pack", "--source", str(images), "--out", str(tmp_path / "b"), "--workers", "2", "--on-error", "report"]) == 3
    [line] = capsys.readouterr().err.splitlines()
    assert "1 of 31 images were left out" in line
    assert Dataset.open(tmp_path / "b").num_samples == 30
    [entry] = map(json.loads, (tmp_path / "b" / "report.jsonl").read_text().splitlines())
    assert entry["name"] == "ant/broken.png"


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["pack"], 2, "biggan-data pack: the following arguments are required: --source, --out; see biggan-data pack --help"),
        (["pack", "--source", "nowhere", "--out", "x"], 2, "biggan-data pack: nowhere: no such source"),
        (["pack", "--source", ".", "--out", "x", "--resolution", "0"], 2, "'0' is neither a side in pixels nor WIDTHxHEIGHT"),
        (["pack", "--source", ".", "--out", "x", "--shard-size", "much"], 2, "'much' is not a size such as 128MB"),
        (["pack", "--source", ".", "--out", "x"], 3, "biggan-data pack: .: no images in it"),
        (["verify", "."], 3, "biggan-data verify: .: no dataset.json here"),
        (["index", "."], 2, "biggan-data index: .: no *.tar in it"),
        (["preview", ".", "--out", "x.jpg"], 2, "--out must end in .png"),
        (["unknown"], 2, "biggan-data: argument VERB: invalid choice: 'unknown'"),
    ],
)
def test_mistakes_are_one_line_and_a_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    [line] = captured.err.splitlines()
    assert message in line


def test_verify_lists_what_is_wrong(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["pack", "--source", str(images), "--out", str(tmp_path / "shards"), "--shard-samples", "10", "--workers", "0"])
    (tmp_path / "shards" / "shard-00001.tar").unlink()
    capsys.readouterr()
    assert main(["verify", str(tmp_path / "shards")]) == 3
    problem, verdict = capsys.readouterr().err.splitlines()
    assert "shard-00001.tar: No such file" in problem
    assert verdict.startswith("biggan-data verify: ") and "1 problem" in verdict


def test_help_loads_nothing_heavy() -> None:
    """Of the half second that help may take, numpy alone would need a good part, and torch all of it."""
    code = """
import sys
from data_tools.cli import main
try:
    main(["pack", "--help"])
except SystemExit:
    print(sorted({"numpy", "torch", "PIL", "rich"} & set(sys.modules)))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert "--resolution" in out and out.splitlines()[-1] == "[]"
