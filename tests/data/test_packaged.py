"""The images that travel with the package: whole, licensed, small, and packed once however many processes ask."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import biggan_scale.data.packaged as packaged
from biggan_scale.config.errors import ConfigError, EnvironmentFault
from biggan_scale.data.packaged import open_dataset

ARCHIVE = Path(packaged.__file__).with_name("emoji64.zip")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BIGGAN_SCALE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_archive_holds_the_images_it_was_made_from() -> None:
    """The digest is that of the PNGs these images come from, pixels in the order of dataset.json."""
    digest = hashlib.sha256()
    with zipfile.ZipFile(ARCHIVE) as archive:
        labels = json.loads(archive.read("dataset.json"))["labels"]
        classes = json.loads(archive.read("classes.json"))
        for name, label in labels:
            assert name.startswith(classes[label] + "/")
            with Image.open(io.BytesIO(archive.read(name))) as image:
                digest.update(np.asarray(image).tobytes())
        licences = [name for name in archive.namelist() if name.startswith("LICENSES/")]
    assert (len(labels), len(classes), len(licences)) == (3812, 9, 3)
    assert digest.hexdigest() == "cf3cd8fa9058c2f570680a4b6762a574835d0d5cde3c54d05056a2fd21f44b6a"
    assert ARCHIVE.stat().st_size <= 9_000_000


def test_packaged_data_opens_at_the_wanted_size_and_is_packed_once(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = open_dataset("packaged:emoji64", resolution=8, channels=1)
    again = open_dataset("packaged:emoji64", resolution=(8, 8), channels=1)
    assert (first.height, first.width, first.channels) == (8, 8, 1)
    assert first.num_samples == 3812
    assert first.label_histogram == (170, 318, 540, 262, 528, 772, 338, 448, 436)
    assert again == first
    message = capsys.readouterr().err
    assert message.count("packing emoji64.zip at 8x8") == 1
    assert first.path.parent == cache


def test_processes_that_start_together_pack_once(cache: Path) -> None:
    code = "from biggan_scale.data.packaged import open_dataset; print(open_dataset('packaged:emoji64', 8, 1).fingerprint)"
    runs = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    ends = [run.communicate(timeout=120) for run in runs]
    assert len({out for out, _ in ends}) == 1
    assert "".join(err for _, err in ends).count("packing") == 1


def test_an_unknown_name_lists_what_there_is(cache: Path) -> None:
    with pytest.raises(ConfigError, match="packaged:emoji65: no such data in this package; there is packaged:emoji64"):
        open_dataset("packaged:emoji65", 8, 3)


def test_a_cache_that_cannot_be_written_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIGGAN_SCALE_CACHE", "/proc/nowhere")
    with pytest.raises(EnvironmentFault, match="set BIGGAN_SCALE_CACHE"):
        open_dataset("packaged:emoji64", 8, 3)
