"""The report of a run: whatever state it is in, complete, self-contained, and with every text escaped."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import socket
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from biggan_scale.cli import main
from support.runs import make_run
from support.tiny import tiny_config

HOSTILE = "<script>alert('\"&amp;')</script>"


class Page(HTMLParser):
    """The text of a page, its tags, and whatever it refers to."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source, self.words, self.tags = source, "", set()
        self.links: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "data", "action", "srcset", "style") and value]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.words += data

    def pictures(self) -> list[Image.Image]:
        found = [link.partition(",")[2] for link in self.links if link.startswith("data:image/")]
        return [Image.open(io.BytesIO(base64.b64decode(content))) for content in found]


def write_state(run_dir: Path, **facts: Any) -> None:
    here = {"host": socket.gethostname(), "pid": os.getpid()}
    (run_dir / "state.json").write_text(json.dumps({"state": "running", "nimg": 2560, "reason": "", "requeue": False, **here, **facts}))


def write_lines(path: Path, *lines: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def report(run_dir: Path) -> Page:
    assert main(["report", str(run_dir)]) == 0
    return Page((run_dir / "report.html").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two real checkpoints, one that was set aside, sheets, records, alarms and two attempts."""
    run_dir = tmp_path_factory.mktemp("runs") / "finished"
    make_run(run_dir, tiny_config(run_dir=run_dir), checkpoints=2)
    (run_dir / "checkpoints" / "BAD_000000000.012-kimg").mkdir()
    write_state(run_dir, state="complete")
    (run_dir / "run.json").write_text(json.dumps({"began": "2026-01-01", "version": "0.0.test", "data_fingerprint": "abc"}))
    (run_dir / "config.yaml").write_text("until: 100 rounds  # command line\n")
    records = [{"nimg": n, "kimg": n / 1000, "round": n, "D/loss": 1.0 + n, "G/loss": 2.0, "img_per_s": 40.0} for n in (16, 32, 48)]
    write_lines(run_dir / "metrics.jsonl", *records)
    start = {"event": "start", "time": "2026-01-01T00:00:00", "world": 2}
    end = {"event": "end", "state": "complete", "reason": "", "exit_code": 0, "nimg": 48}
    write_lines(run_dir / "attempts.jsonl", {**start, "nimg": 0}, {**start, "nimg": 16}, end)
    alarm = {"name": "collapse", "value": 0.1, "limit": 0.4, "means": "all images look alike", "advice": "lower G's rate", "since_nimg": 32}
    alarms = [{**alarm, "confirmed": True}, {**alarm, "name": "won", "confirmed": False}]
    (run_dir / "health.json").write_text(json.dumps({"nimg": 48, "values": {"modes": 0.125, "separation": None}, "alarms": alarms}))
    (run_dir / "samples").mkdir()
    for nimg in range(16, 16 * 9, 16):
        Image.new("RGB", (nimg, 8)).save(run_dir / "samples" / f"{nimg / 1000:013.3f}-kimg.png")
    Image.new("RGB", (8, 8)).save(run_dir / "samples" / "000000000.128-kimg-reconstructions.png")
    (run_dir / "log.txt").write_text("12:00:00 started\n12:00:09 complete\n")
    return run_dir


def test_everything_is_on_the_page(finished: Path) -> None:
    page = report(finished)
    for words in ("complete", "2,560", "abc", "40.0 img/s", "until: 100 rounds  # command line", "12:00:09 complete"):
        assert words in page.words
    for words in (
        "collapse, since 0.032 kimg: all images look alike.lower G's rate.",
        "won (suspected), since",
        "modes0.125",
        "not finite",
    ):
        assert words in page.words
    assert re.search(r"D/loss\s*49\s*17\s*49", page.words)  # last, least, most
    assert 'aria-label="D/loss, G/loss"' in page.source


def test_checkpoints_are_listed_with_what_is_wrong(finished: Path) -> None:
    newest, *_ = sorted((finished / "checkpoints").glob("0*"), reverse=True)
    manifest = json.loads((newest / "MANIFEST.json").read_text())
    page = report(finished)
    assert manifest["state_sha256"][:16] in page.words
    assert "BAD_000000000.012-kimgset aside" in page.words
    size = (newest / "ema.safetensors").stat().st_size
    os.truncate(newest / "ema.safetensors", 10)
    assert f"ema.safetensors has 10 of {size} bytes" in report(finished).words


def test_attempts_say_how_they_ended(finished: Path) -> None:
    words = report(finished).words
    assert "12026-01-01T00:00:000.000 kimg2died without a word" in words
    assert "22026-01-01T00:00:000.016 kimg2complete (0)0.048 kimg" in words


def test_newest_sheet_is_first_and_earlier_ones_are_spread(finished: Path) -> None:
    page = report(finished)
    assert [picture.width for picture in page.pictures()] == [128, 96, 80, 48, 16, 8]
    assert [picture.format for picture in page.pictures()] == ["PNG"] * 6


def test_large_sheet_is_made_smaller_and_said_to_be(tmp_path: Path) -> None:
    write_state(tmp_path)
    (tmp_path / "samples").mkdir()
    noise = Image.frombytes("RGB", (2000, 500), os.urandom(2000 * 500 * 3))
    noise.save(tmp_path / "samples" / "000000000.016-kimg.png")
    page = report(tmp_path)
    (picture,) = page.pictures()
    assert picture.size == (1600, 400)
    assert "000000000.016-kimg.png, made smaller for this page" in page.words
    assert len(page.source) < 3_000_000


def test_nothing_is_loaded_and_nothing_runs(finished: Path) -> None:
    page = report(finished)
    assert not page.tags & {"script", "link", "iframe", "object", "embed", "a", "form", "base"}
    assert all(link.startswith(("data:image/", "background:#")) for link in page.links)
    assert "http" not in page.source.replace("http-equiv", "")
    assert "url(" not in page.source
    assert "@import" not in page.source
    assert "default-src 'none'" in page.source


def test_texts_of_the_run_are_escaped(tmp_path: Path) -> None:
    run_dir = tmp_path / HOSTILE.replace("/", "")
    (run_dir / "samples").mkdir(parents=True)
    write_state(run_dir, state="failed", reason=HOSTILE)
    (run_dir / "config.yaml").write_text(f"until: {HOSTILE}\n")
    (run_dir / "run.json").write_text(json.dumps({"began": HOSTILE, "version": HOSTILE, "data_fingerprint": HOSTILE}))
    write_lines(run_dir / "metrics.jsonl", {"nimg": 1, HOSTILE: 1.0, f"D/{HOSTILE}": 2.0, f"health/sigma/{HOSTILE}": 1.0})
    alarm = {"name": HOSTILE, "means": HOSTILE, "advice": HOSTILE, "confirmed": True, "since_nimg": 0, "value": 0, "limit": 1}
    (run_dir / "health.json").write_text(json.dumps({"nimg": 1, "values": {HOSTILE: 1.0}, "alarms": [alarm]}))
    write_lines(run_dir / "attempts.jsonl", {"event": "start", "time": HOSTILE, "nimg": 0, "world": HOSTILE})
    (run_dir / "log.txt").write_text(HOSTILE)
    for folder in ("stacks", f"checkpoints/BAD_{HOSTILE.replace('/', '')}"):
        (run_dir / folder).mkdir(parents=True)
    (run_dir / "stacks" / HOSTILE.replace("/", "")).touch()
    (run_dir / "samples" / f"0-kimg-{HOSTILE.replace('/', '')}.png").write_bytes(b"")
    page = report(run_dir)
    assert "script" not in page.tags
    assert page.words.count("alert('\"&amp;')") >= 15


def test_run_in_progress(tmp_path: Path) -> None:
    """Its files are read as they are at this moment: half a record, half a picture, a checkpoint that is being written."""
    write_state(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"nimg": 16, "D/loss": 1.0}\n{"nimg": 32, "D/lo')
    write_lines(tmp_path / "attempts.jsonl", {"event": "start", "time": "now", "nimg": 0, "world": 1})
    (tmp_path / "checkpoints" / ".tmp_000000000.032-kimg_1").mkdir(parents=True)
    (tmp_path / "samples").mkdir()
    whole, half = tmp_path / "samples" / "000000000.016-kimg.png", tmp_path / "samples" / "000000000.032-kimg.png"
    Image.new("RGB", (64, 64), "red").save(whole)
    half.write_bytes(whole.read_bytes()[:80])
    page = report(tmp_path)
    assert "not whole, perhaps being written: 000000000.032-kimg.png" in page.words
    assert len(page.pictures()) == 1
    assert "1now0.000 kimg1running" in page.words
    assert "None has been written yet." in page.words


def test_interrupted_run_is_said_to_be_dead(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    write_state(tmp_path, pid=child)
    write_lines(tmp_path / "attempts.jsonl", {"event": "start", "time": "now", "nimg": 0, "world": 1})
    page = report(tmp_path)
    assert f"failed process {child} on {socket.gethostname()} died without a word; run the same command again to resume" in page.words
    assert "1now0.000 kimg1died without a word" in page.words


def test_run_that_has_done_nothing_yet(tmp_path: Path) -> None:
    write_state(tmp_path, nimg=0)
    page = report(tmp_path)
    assert all(title in page.words for title in ("Health", "Samples", "Curves", "Checkpoints", "Attempts", "Configuration", "Log"))


def test_the_run_is_not_touched(finished: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    assert main(["report", str(finished), "--out", str(tmp_path / "elsewhere.html")]) == 0
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before
    assert (tmp_path / "elsewhere.html").stat().st_size > 1000


def test_no_run_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"biggan-scale report: {tmp_path} is not a run directory: it has no readable state.json\n"


def test_place_that_cannot_be_written_is_the_environment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_state(tmp_path)
    (tmp_path / "file").touch()
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "file" / "report.html")]) == 5
    assert capsys.readouterr().err.count("\n") == 1
