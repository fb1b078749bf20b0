"""Sources that make no sense are refused in one line, before anything is written."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from biggan_scale.config.errors import ConfigError, DataError
from biggan_scale.data.pack import PackOptions, pack
from biggan_scale.data.sources import Sample, open_source

buffer = io.BytesIO()
Image.new("RGB", (4, 4), "red").save(buffer, "PNG")
PNG = buffer.getvalue()
LABELLED = {"a.png": PNG, "b.png": PNG}


def write_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path / "source.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path / "source.zip"


def labels(pairs: object) -> bytes:
    return json.dumps({"labels": pairs}).encode()


@pytest.mark.parametrize("write", [write_folder, write_zip])
@pytest.mark.parametrize(
    "files, message",
    [
        ({"readme.txt": b"x"}, "no images in it"),
        ({"ant/a.png": PNG, "b.png": PNG}, "'ant/a.png' is in a class folder and 'b.png' is not"),
        ({**LABELLED, "dataset.json": b"{"}, "dataset.json: Expecting"),
        ({**LABELLED, "dataset.json": labels([["a.png"]])}, r"must be null or a list of \[name, label\]"),
        ({**LABELLED, "dataset.json": labels([["a.png", 0]])}, "no label for 'b.png'"),
        ({**LABELLED, "dataset.json": labels([["a.png", 0], ["b.png", -1]])}, "label -1 for 'b.png'; allowed are whole numbers from 0"),
        ({**LABELLED, "dataset.json": labels([["a.png", 0], ["b.png", 0.5]])}, "label 0.5 for 'b.png'"),
        ({**LABELLED, "dataset.json": labels([["a.png", 0], ["b.png", True]])}, "label True for 'b.png'"),
        ({**LABELLED, "dataset.json": labels([["a.png", 0], ["b.png", 99999]])}, "99998 of 100000 classes have no images: 1"),
        (
            {**LABELLED, "dataset.json": labels([["a.png", 0], ["b.png", 2]]), "classes.json": b'["x", "y"]'},
            "label 2 for 'b.png'; allowed are 0 to 1, the classes of classes.json",
        ),
        ({**LABELLED, "dataset.json": labels([["a.png", 0], ["b.png", 1]]), "classes.json": b"3"}, "classes.json: must be a list"),
        ({**LABELLED, "dataset.json": labels([["a.png", 0], ["b.png", 1]]), "classes.json": b'["x", "y", "z"]'}, r"2 \(z\)"),
    ],
)
def test_contradictions_are_named(tmp_path: Path, write, files: dict[str, bytes], message: str) -> None:
    (tmp_path / "in").mkdir()
    source = open_source(write(tmp_path / "in", files))
    with pytest.raises(DataError, match=message) as caught:
        pack(source, tmp_path / "out", PackOptions(), workers=0)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "dataset.json").exists()


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "x/../../a.png"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="unsafe name"):
        open_source(write_zip(tmp_path, {name: PNG})).list()


def test_hidden_and_other_files_are_left_out(tmp_path: Path) -> None:
    files = {
        "ant/a.png": PNG,
        "ant/.b.png": PNG,
        "__MACOSX/ant/a.png": PNG,
        ".git/c.png": PNG,
        "ant/notes.txt": b"x",
        "ant/code.pickle": b"x",
    }
    for source in (write_folder(tmp_path, files), write_zip(tmp_path, files)):
        listing = open_source(source).list()
        assert listing.samples == [Sample("ant/a.png", 0)]
        assert listing.num_ignored >= 2


def test_a_member_that_is_damaged_encrypted_or_huge_is_a_bad_sample(tmp_path: Path) -> None:
    path = write_zip(tmp_path, {"a.png": PNG})
    content = bytearray(path.read_bytes())
    content[content.index(PNG) + 20] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read from the zip: Bad CRC-32"):
        open_source(path).read("a.png")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(300 * 2**20))
    with pytest.raises(ValueError, match="314572800 bytes; an image file may have 268435456"):
        open_source(path).read("a.png")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"hello", "idx3-ubyte"),
        (bytes([0, 0, 8, 3]) + (2).to_bytes(4, "big") * 3 + bytes(7), "fewer bytes than its header announces"),
        (bytes([0, 0, 8, 3]) + (2).to_bytes(4, "big") * 3 + bytes(10**6), "more bytes than its header announces"),
        (bytes([0, 0, 13, 3]) + bytes(12), "idx3-ubyte"),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_an_idx_file_must_hold_what_its_header_says(tmp_path: Path, content: bytes, message: str, compressed: bool) -> None:
    path = tmp_path / ("images-idx3-ubyte.gz" if compressed else "images-idx3-ubyte")
    path.write_bytes(gzip.compress(content) if compressed else content)
    with pytest.raises(DataError, match=message):
        open_source(path).list()


def test_idx_labels_must_match_their_images(tmp_path: Path) -> None:
    (tmp_path / "t-images-idx3-ubyte").write_bytes(bytes([0, 0, 8, 3]) + (2).to_bytes(4, "big") * 3 + bytes(8))
    (tmp_path / "t-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1]) + (3).to_bytes(4, "big") + bytes(3))
    with pytest.raises(DataError, match="3 labels for the 2 images"):
        open_source(tmp_path / "t-images-idx3-ubyte").list()


def test_a_source_that_is_not_there_is_a_mistake_of_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such source"):
        open_source(tmp_path / "nowhere")
