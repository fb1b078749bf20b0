from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from biggan_scale.config import ConfigError, EnvironmentFault
from biggan_scale.data.pixels import to_uint8
from biggan_scale.export.load import load
from biggan_scale.export.sampling import sample_to
from export.conftest import Trained

ROOT = Path(__file__).resolve().parents[2]


def expected(trained: Trained, num: int, **how: object) -> np.ndarray:
    """(N, H, W, C) uint8."""
    return to_uint8(load(trained.run).sample(num, **how)).permute(0, 2, 3, 1).numpy()


def png(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_an_array_holds_images_and_labels(trained: Trained, tmp_path: Path) -> None:
    sample_to(trained.run, tmp_path / "a.npz", num=11, seed=5, classes=[4, 0])
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["arr_0"], expected(trained, 11, seed=5, classes=[4, 0]))
        assert arrays["arr_1"].tolist() == [4, 0] * 5 + [4]


def test_a_sheet_is_nearly_square(trained: Trained, tmp_path: Path) -> None:
    sample_to(trained.export, tmp_path / "new" / "a.png", num=7)
    sheet, images = png(tmp_path / "new" / "a.png"), expected(trained, 7)
    assert sheet.shape == (3 * 32, 3 * 32, 3)
    assert np.array_equal(sheet[32:64, 64:96], images[5])
    assert not sheet[64:96, 32:].any()


def test_given_classes_have_a_row_each(trained: Trained, tmp_path: Path) -> None:
    sample_to(trained.run, tmp_path / "a.png", num=5, classes=[1, 3], truncation=0.5)
    sheet, images = png(tmp_path / "a.png"), expected(trained, 5, classes=[1, 3], truncation=0.5)
    assert sheet.shape == (2 * 32, 3 * 32, 3)
    for i, image in enumerate(images):
        row, column = i % 2 * 32, i // 2 * 32
        assert np.array_equal(sheet[row : row + 32, column : column + 32], image)


def test_a_folder_holds_one_file_per_image_and_labels(trained: Trained, tmp_path: Path) -> None:
    for _ in range(2):  # the same again replaces itself
        sample_to(trained.run, tmp_path, num=10, weights="raw")
    labels = json.loads((tmp_path / "labels.json").read_text())
    assert (
        sorted(path.name for path in tmp_path.iterdir()) == [*labels, "labels.json"] == [*(f"{i:06}.png" for i in range(10)), "labels.json"]
    )
    images = to_uint8(load(trained.run, weights="raw").sample(10)).permute(0, 2, 3, 1).numpy()
    assert all(np.array_equal(png(tmp_path / name), image) for name, image in zip(labels, images, strict=True))


def test_a_file_of_another_kind_is_refused_and_not_made_a_folder(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a.jpg: '.jpg' is not written; FILE.png, FILE.npz, or a folder"):
        sample_to(trained.run, tmp_path / "a.jpg", num=1)
    assert not (tmp_path / "a.jpg").exists()


def test_a_folder_with_other_images_is_refused(trained: Trained, tmp_path: Path) -> None:
    sample_to(trained.run, tmp_path, num=3)
    with pytest.raises(ConfigError, match=r"holds other images \(000002.png, 1 in all\)"):
        sample_to(trained.run, tmp_path, num=2)
    assert {path.name for path in tmp_path.iterdir()} == {"000000.png", "000001.png", "000002.png", "labels.json"}


@pytest.mark.parametrize("name", ["a.png", "a.npz", "a"])
def test_a_place_that_cannot_be_written_is_told_before_anything_is_drawn(trained: Trained, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    drawn: list[int] = []
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        sample_to(trained.run, tmp_path / "file" / name, num=1, progress=lambda done, total: drawn.append(done))
    assert not drawn


def test_a_folder_in_the_place_of_a_file_is_told(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(EnvironmentFault, match="a folder of that name exists"):
        sample_to(trained.run, tmp_path / "a.png", num=1)


def by_two_ranks(*arguments: str | Path) -> list[tuple[int, str]]:
    """Exit code and stderr of each rank of `biggan-scale sample ...`."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    ours = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "biggan_scale.cli", "sample", *map(str, arguments)]
    ranks = [subprocess.Popen(command, env=os.environ | ours | {"RANK": str(rank)}, stderr=subprocess.PIPE, text=True) for rank in range(2)]
    try:
        return [(process.wait(timeout=120), process.communicate()[1]) for process in ranks]
    finally:
        for process in ranks:
            process.kill()


def test_two_ranks_write_the_folder_of_one(trained: Trained, tmp_path: Path) -> None:
    for code, stderr in by_two_ranks(trained.export, "--num", "20", "--out", tmp_path / "two"):
        assert code == 0, stderr
    sample_to(trained.export, tmp_path / "one", num=20)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two


def test_two_ranks_share_a_single_chunk(trained: Trained, tmp_path: Path) -> None:
    for code, stderr in by_two_ranks(trained.run, "--num", "3", "--out", tmp_path / "a.npz"):
        assert code == 0, stderr
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["arr_0"], expected(trained, 3))


def test_of_two_ranks_one_tells_what_is_wrong(trained: Trained, tmp_path: Path) -> None:
    outcome = by_two_ranks(trained.run, "--num", 4, "--classes", "9", "--out", tmp_path / "a.npz")
    assert [code for code, _ in outcome] == [2, 2]
    assert "".join(stderr for _, stderr in outcome) == "biggan-scale sample: rank 0: classes [9]: the model has 0 to 4\n"
