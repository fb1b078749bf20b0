"""stats, split, reshard, export, inspect, merge and bench: what they find and write, against numpy, PIL and webdataset."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from PIL import Image

from biggan_scale.data import transfer
from biggan_scale.data.index import Dataset
from biggan_scale.data.shard_writer import ShardWriter, members_of
from data_tools.cli import VERBS, main
from support import http
from support.shards import CLASSES, Made, make_folder


@pytest.fixture
def made(make_shards) -> Made:
    return make_shards(num=50)


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def content(path: Path) -> dict[str, tuple[np.ndarray, int]]:
    """Everything in the tars of a directory, as stock webdataset reads it."""
    tars = sorted(map(str, path.glob("*.tar")))
    return {s["__key__"]: (s["png"], s["cls"]) for s in webdataset.WebDataset(tars, shardshuffle=False).decode("rgb8")}


def assert_same(found: dict[str, tuple[np.ndarray, int]], made: Made, keys: set[str]) -> None:
    assert found.keys() == keys
    for key, (pixels, label) in found.items():
        assert np.array_equal(pixels, made.pixels[key]) and label == made.labels[key]


def test_stats_are_numpys(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "stats", made.dataset.path)
    pixels = np.stack(list(made.pixels.values())).reshape(-1, 3).astype(float)
    assert np.allclose(found["mean"], pixels.mean(0)) and np.allclose(found["std"], pixels.std(0))
    assert found["labels"] == {"ant": 17, "bee": 17, "cat": 16}
    assert found["num_duplicates"] == 0 and found["bytes_min"] <= found["bytes_mean"] <= found["bytes_max"]


def test_stats_find_duplicates_by_their_pixels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_folder(tmp_path / "images", num=9)
    with Image.open(tmp_path / "images/ant/image 0000 é.png") as image:
        image.save(tmp_path / "images/ant/again.png", compress_level=0)  # other bytes
        image.save(tmp_path / "images/cat/wrong.png")
    main(["pack", "--source", str(tmp_path / "images"), "--out", str(tmp_path / "out"), "--workers", "0"])
    found = answer(capsys, "stats", tmp_path / "out")
    assert found["num_duplicates"] == 2 and found["conflicting"] in (1, 2)  # depends on which comes first
    assert [sorted(group) for group in found["duplicates"]] == [["ant/again", "ant/image 0000 é", "cat/wrong"]]


def test_split_is_stable_when_data_grow(tmp_path: Path, make_shards, capsys: pytest.CaptureFixture[str]) -> None:
    small, large = make_shards(num=50), make_shards(num=90, seed=7)
    for name, made in (("small", small), ("large", large)):
        parts = answer(capsys, "split", made.dataset.path, "--out", tmp_path / name, "--val", 0.2, "--test", 0.2)
        assert sum(part["images"] for part in parts.values()) == made.dataset.num_samples
        found = [content(tmp_path / name / part) for part in ("train", "val", "test")]
        assert not set(found[0]) & set(found[1]) and not set(found[1]) & set(found[2])
        assert_same(found[0] | found[1] | found[2], made, set(made.pixels))
        assert main(["verify", str(tmp_path / name / "val")]) == 0
        assert Dataset.open(tmp_path / name / "val").classes == CLASSES
    for part in ("train", "val", "test"):
        assert set(content(tmp_path / "small" / part)) == set(content(tmp_path / "large" / part)) & set(small.pixels)


def test_reshard_keeps_every_image_and_the_order_or_shuffles(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, "reshard", made.dataset.path, "--out", tmp_path / "a", "--shard-samples", 20)["shards"] == 3
    answer(capsys, "reshard", made.dataset.path, "--out", tmp_path / "b", "--seed", 1)
    for name in "ab":
        assert_same(content(tmp_path / name), made, set(made.pixels))
        assert main(["verify", str(tmp_path / name)]) == 0
    assert list(content(tmp_path / "a")) == list(content(made.dataset.path)) != list(content(tmp_path / "b"))


@pytest.mark.parametrize("encode", ["png", "raw", "webp"])
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_exports_are_read_by_others_and_packed_to_the_same(make_shards, tmp_path: Path, capsys, encode: str, kind: str) -> None:
    made = make_shards(num=20, encode=encode)
    out = tmp_path / ("export.zip" if kind == "zip" else "export")
    assert answer(capsys, "export", made.dataset.path, "--out", out)["images"] == 20
    if kind == "zip":
        with zipfile.ZipFile(out) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
    else:
        files = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    labels = dict(json.loads(files["dataset.json"])["labels"])
    by_digest = {hashlib.sha256(pixels.tobytes()).digest(): made.labels[key] for key, pixels in made.pixels.items()}
    assert len(labels) == 20
    for name, label in labels.items():
        pixels = np.asarray(Image.open(io.BytesIO(files[name])).convert("RGB"))
        assert by_digest[hashlib.sha256(pixels.tobytes()).digest()] == label
    if kind == "zip":
        assert min(labels).startswith("00000/img00000000.")
    main(["pack", "--source", str(out), "--out", str(tmp_path / "again"), "--workers", "0"])
    assert Dataset.open(tmp_path / "again").classes == made.dataset.classes
    assert Dataset.open(tmp_path / "again").label_histogram == made.dataset.label_histogram


def test_inspect_tells_of_the_data_set_a_shard_and_a_sample(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = made.dataset.path
    assert answer(capsys, "inspect", path)["classes"] == {"ant": 17, "bee": 17, "cat": 16}
    shard = answer(capsys, "inspect", f"{path}:1")
    assert shard["images"] == 12 and answer(capsys, "inspect", path / "shard-00001.tar") == shard
    sample = answer(capsys, "inspect", f"{path}:1:5", "--out", tmp_path / "image.png")
    assert sample["key"] == shard["keys"][5] and CLASSES[sample["label"]] == sample["class"]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "image.png")), made.pixels[sample["key"]])
    assert np.allclose(sample["mean"], made.pixels[sample["key"]].mean((0, 1)), atol=0.01)
    with open(path / "shard-00001.tar", "rb") as file:
        file.seek(sample["offset"])
        assert file.read(sample["bytes"]) == (tmp_path / "image.png").read_bytes()


# behind a URL


@pytest.fixture
def server(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[http.Server]:
    monkeypatch.setenv("BIGGAN_SCALE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(transfer, "FIRST_PAUSE_S", 0.01)
    with http.Server(made.dataset.path) as server:
        yield server


@pytest.mark.parametrize(
    "verb",
    [
        ["verify", "D"],
        ["stats", "D"],
        ["inspect", "D:1:2", "--out", "image.png"],
        ["inspect", "D/shard-00003.tar"],
        ["preview", "D", "--out", "sheet.png"],
        ["split", "D", "--out", "parts", "--val", "0.5"],
        ["reshard", "D", "--out", "new", "--shard-samples", "9"],
        ["export", "D", "--out", "images"],
    ],
    ids=lambda verb: verb[0],
)
def test_verbs_do_the_same_behind_a_url(
    made: Made, server: http.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, verb: list[str]
) -> None:
    found, files = [], []
    for name, place in (("here", str(made.dataset.path)), ("there", server.url)):
        directory = tmp_path / name
        directory.mkdir()
        monkeypatch.chdir(directory)
        tree = answer(capsys, *(argument.replace("D", place, 1) if argument[0] == "D" else argument for argument in verb))
        found.append(json.loads(json.dumps(tree).replace(place, "D")))
        files.append({path.relative_to(directory): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()})
    assert found[0] == found[1] and files[0] == files[1]
    assert bool(files[0]) == ("--out" in verb)


def test_inspect_tells_of_a_data_set_behind_a_url(made: Made, server: http.Server, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "inspect", f"{server.url}?token=secret")
    assert found["directory"] == f"{server.url}/" and found["images"] == 50 and found["fingerprint"] == made.dataset.fingerprint
    assert set(server.requests) == {"dataset.json"}
    host = server.url.removesuffix("/data")
    assert answer(capsys, "inspect", host)["images"] == 50
    assert answer(capsys, "inspect", f"{host}/:4")["shard"] == f"{host}/shard-00004.tar"


def test_bench_reads_from_a_url(made: Made, server: http.Server, capsys: pytest.CaptureFixture[str]) -> None:
    [found] = answer(capsys, "bench", server.url, "--workers", "0", "--seconds", "0.1", "--batch", "8")["measured"]
    assert found["img_per_s"] > 0


def test_verify_finds_what_the_server_sends_now(made: Made, server: http.Server, tmp_path: Path, capsys) -> None:
    answer(capsys, "stats", server.url)  # all is well in the cache
    cached = sorted((tmp_path / "cache").rglob("*.tar"))
    path = made.dataset.path / "shard-00001.tar"
    path.write_bytes(bytes(len(path.read_bytes())))
    (made.dataset.path / "shard-00003.tar").unlink()
    assert main(["verify", server.url]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"{server.url}/shard-00001.tar: its sha256 is not the one in dataset.json (tried 5 times)")
    assert lines[1] == f"{server.url}/shard-00003.tar: the server answers 404 Not Found"
    assert lines[2].startswith(f"biggan-data verify: {server.url}/: 2 problems") and len(lines) == 3
    assert len(cached) == 5 and sorted((tmp_path / "cache").rglob("*.tar")) == cached
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["shards"]


@pytest.mark.parametrize("verb", ["verify", "inspect", "stats"])
def test_a_url_without_data_is_one_line(server: http.Server, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    server.fail("dataset.json", http.status(404))
    assert main([verb, server.url]) == 3
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"biggan-data {verb}: {server.url}/dataset.json: the server answers 404 Not Found"


def test_parts_by_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_folder(tmp_path / "images", num=30)
    for part in ("1/2", "2/2"):
        packed = answer(
            capsys, "pack", "--source", tmp_path / "images", "--out", tmp_path / "out", "--part", part, "--workers", 0, "--resume"
        )
        assert packed["images"] == 15 and packed["part"] == part
    assert answer(capsys, "merge", tmp_path / "out")["images"] == 30
    assert main(["verify", str(tmp_path / "out")]) == 0


def test_bench_measures_every_number_of_workers(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "bench", made.dataset.path, "--workers", "0,1", "--seconds", 0.3, "--batch", 8, "--flip")
    assert [entry["workers"] for entry in found["measured"]] == [0, 1]
    assert all(entry["img_per_s"] > 0 and entry["img_per_cpu_s"] > 0 for entry in found["measured"])


def test_preview_lays_alpha_on_white(tmp_path: Path) -> None:
    for number in range(4):
        pixels = np.full((6, 6, 4), [255, 0, 0, 0 if number % 2 else 255], np.uint8)
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    main(["pack", "--source", str(tmp_path / "images"), "--out", str(tmp_path / "out"), "--channels", "4", "--workers", "0"])
    main(["preview", str(tmp_path / "out"), "--out", str(tmp_path / "sheet.png"), "--columns", "4", "--rows", "1"])
    colours = {tuple(pixel) for pixel in np.asarray(Image.open(tmp_path / "sheet.png")).reshape(-1, 3)}
    assert colours == {(255, 255, 255), (255, 0, 0)}


def damage_bit(path: Path) -> None:
    tar = path / "shard-00001.tar"
    data = bytearray(tar.read_bytes())
    data[700] ^= 4
    tar.write_bytes(data)


def cut(path: Path) -> None:
    tar = path / "shard-00001.tar"
    tar.write_bytes(tar.read_bytes()[:2048])


def rewrite(path: Path, change: Any) -> None:
    """The second shard as someone with a tar program would have changed it, and indexed again without looking."""
    tar = path / "shard-00001.tar"
    with tarfile.open(tar) as old:
        found = [(member, old.extractfile(member)) for member in old]
        members = [(member, file.read() if file else b"") for member, file in found]
    with tarfile.open(tar, "w") as new:
        for member, data in change(members):
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))


def with_member(name: str, data: bytes = b"x", **fields: Any) -> Any:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> list[tuple[tarfile.TarInfo, bytes]]:
        info = tarfile.TarInfo(name)
        for field, value in fields.items():
            setattr(info, field, value)
        return [*members, (info, data)]

    return lambda path: rewrite(path, change)


def bomb(path: Path) -> None:
    huge = io.BytesIO()
    Image.new("L", (9000, 9000)).save(huge, "PNG")
    with_member("bomb.png", huge.getvalue())(path)


@pytest.mark.parametrize(
    "damage, verify_says, index_says",
    [
        (damage_bit, "its sha256 is not the one in dataset.json", "sample '.*'|not a whole"),
        (cut, r"shard-00001.tar: 2048 of \d+ bytes", "damaged or cut"),
        (with_member("../../evil.png"), "bytes", r"unsafe name '../../evil.png'; names must be relative and stay inside"),
        (with_member("/etc/evil.png"), "bytes", r"unsafe name '/etc/evil.png'"),
        (
            with_member("link.png", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
            "bytes",
            "member 'link.png' is a symbolic link to '/etc/passwd'; only plain files are read",
        ),
        (with_member("dev.png", b"", type=tarfile.CHRTYPE), "bytes", "member 'dev.png' is a device; only plain files are read"),
        (with_member("ant/zzz.png"), "bytes", "sample 'ant/zzz': neither PNG"),
        (bomb, "bytes", r"sample 'bomb' is \(9000, 9000, 1\), others are \(12, 12, 3\)"),
    ],
    ids=["bit", "cut", "up", "absolute", "link", "device", "not-an-image", "bomb"],
)
def test_damaged_and_hostile_shards_are_told_in_a_line(
    made: Made, capsys: pytest.CaptureFixture[str], damage: Any, verify_says: str, index_says: str
) -> None:

    damage(made.dataset.path)
    assert main(["verify", str(made.dataset.path)]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert any(re.search(verify_says, line) for line in lines) and lines[-1].startswith("biggan-data verify: ")
    for path in [*made.dataset.path.glob("*.idx.npy"), made.dataset.path / "dataset.json"]:
        path.unlink()
    if damage is damage_bit:
        return  # without an index nobody can tell that a bit of noise is not as it was
    assert main(["index", str(made.dataset.path)]) == 3
    [line] = capsys.readouterr().err.splitlines()
    assert re.search(index_says, line) and not (made.dataset.path / "dataset.json").exists()


@pytest.mark.parametrize("extension", ["pyd", "pickle", "pth", "aux.pkl"])
def test_members_that_others_execute_are_refused_and_not_executed(tmp_path: Path, capsys, extension: str) -> None:
    make_folder(tmp_path / "images", num=1)
    png = next((tmp_path / "images").rglob("*.png")).read_bytes()
    evil = b"cposix\nmkdir\n(V" + str(tmp_path / "executed").encode() + b"\ntR."
    with webdataset.TarWriter(str(tmp_path / "x.tar")) as writer:
        writer.write({"__key__": "a", "png": png, extension: evil})
    assert main(["index", str(tmp_path)]) == 3
    assert f"sample 'a' has a member .{extension}, which other readers execute" in capsys.readouterr().err
    assert main(["pack", "--source", str(tmp_path / "x.tar"), "--out", str(tmp_path / "out"), "--workers", "0"]) == 0
    assert evil not in (tmp_path / "out" / "shard-00000.tar").read_bytes()
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["split", "D", "--out", "x"], 2, "shares must be above 0, and leave something for train"),
        (["split", "D", "--out", "x", "--val", "0.7", "--test", "0.3"], 2, "leave something for train"),
        (["split", "D", "--out", "x", "--val", "1e-9"], 3, "none of the 50 samples would fall into it; give it a larger share"),
        (["split", "D", "--out", "x", "--val", "half"], 2, "argument --val: invalid float value: 'half'"),
        (["reshard", "D", "--out", "D"], 2, "is not empty; give --out a new or empty directory"),
        (["reshard", "nowhere", "--out", "x"], 3, "nowhere: no dataset.json here"),
        (["export", "D", "--out", "D"], 2, "is not empty"),
        (["export", "D", "--out", "/proc/x.zip"], 5, "biggan-data export: /proc/x.zip"),
        (["inspect", "D:9"], 2, "has shards 0 to 4; there is no 9"),
        (["inspect", "D:0:99"], 2, "has samples 0 to 11; there is no 99"),
        (["inspect", "D/other.tar"], 2, "not a shard of the data set in"),
        (["inspect", "D", "--out", "x.png"], 2, "--out writes the image of one sample"),
        (["inspect", "nowhere"], 3, "no dataset.json here"),
        (["merge", "D"], 2, "is a data set already; there is nothing to merge"),
        (["merge", "nowhere"], 2, "no parts in it"),
        (["stats", "nowhere"], 3, "no dataset.json here"),
        (["bench", "D", "--workers", "two"], 2, "--workers two: must be numbers, as in 0,2"),
        (["pack", "--source", "D", "--out", "x", "--part", "0/4"], 2, "'0/4' is not a part such as 1/8; parts are counted from 1"),
        (["pack", "--source", "D", "--out", "x", "--columns", "a,b,c"], 2, "'a,b,c' is neither IMAGE nor IMAGE,LABEL"),
        (["pack", "--source", "D", "--out", "x", "--labels", "no.csv"], 2, "--labels no.csv: no such file"),
        (["pack", "--source", "D", "--out", "/proc/x"], 5, "biggan-data pack: /proc/x"),
    ],
)
def test_mistakes_are_one_line_and_a_code(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, arguments: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([argument.replace("D", str(made.dataset.path), 1) if argument[0] == "D" else argument for argument in arguments]) == code
    captured = capsys.readouterr()
    [line] = captured.err.splitlines()
    assert captured.out == "" and message in line


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_short_and_quick_and_loads_nothing_heavy(verb: str) -> None:
    code = f"""
import sys, time
from data_tools.cli import main
try:
    main(["{verb}", "--help"])
except SystemExit:
    print(sorted({{"numpy", "torch", "PIL", "rich", "lmdb", "pyarrow"}} & set(sys.modules)), time.process_time() < 0.5)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "80"})
    *out, verdict = done.stdout.splitlines()
    assert verdict == "[] True" and 5 < len(out) <= 40 and max(map(len, out)) <= 80


def test_help_of_a_whole_process_takes_less_than_half_a_second_of_its_time() -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "data_tools", "--help"], check=True, stdout=subprocess.DEVNULL, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5, time.asctime()


@pytest.mark.parametrize(
    "samples, message",
    [
        ([("a", 0), ("b", 1), ("a", 1)], r"shard-00001\.tar: key 'a' is in shard-00000\.tar already"),
        ([("a", 0), ("a", 1), ("b", 0)], r"shard-00000\.tar: member 'a\.png' comes twice"),
        ([("a", 0), ("b", 0), ("c", 7)], r"shard-00001\.idx\.npy: sample 0 has label 7; allowed are 0 to 1"),
        ([("a", 0), ("../b", 0), ("c", 1)], r"shard-00000\.tar: unsafe name '\.\./b\.png'; names must be relative and stay inside"),
        ([("a", 0), ("b.pth", 0), ("c", 1)], r"sample 'b' has 0 images \(pth\.png, pth\.cls\); one is needed"),
    ],
)
def test_verify_finds_what_a_careless_writer_has_made(tmp_path: Path, capsys, samples: list[tuple[str, int]], message: str) -> None:
    """Everything is consistent here, by sizes and checksums, and wrong all the same."""
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(buffer, "PNG")
    writer = ShardWriter(tmp_path, 10**6, max_samples=2)
    shards = [writer.add(members_of(key, "png", buffer.getvalue(), label)) for key, label in samples]
    shards = [shard for shard in [*shards, writer.finish()] if shard]
    histogram = tuple(sum(label == wanted for _, label in samples) for wanted in range(2))
    Dataset(tmp_path, 4, 4, 3, "png", ("x", "y"), histogram, tuple(shards)).save()
    assert main(["verify", str(tmp_path)]) == 3
    problem, verdict = capsys.readouterr().err.splitlines()
    assert re.search(message, problem) and "1 problem" in verdict
