"""A pack that is killed goes on where it was, one that is split into parts comes together; both to the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from biggan_scale.config.errors import ConfigError, DataError, EnvironmentFault, UserError
from biggan_scale.data.index import Dataset
from biggan_scale.data.journal import Journal
from biggan_scale.data.pack import PackOptions, merge, pack
from biggan_scale.data.sources import FolderSource
from biggan_scale.data.tar import samples
from biggan_scale.data.verify import verify
from support.shards import make_folder

OPTIONS = PackOptions(shard_samples=7, on_error="report")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    make_folder(tmp_path / "images", num=40)
    (tmp_path / "images" / "ant" / "broken.png").write_bytes(b"broken")
    return tmp_path / "images"


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


class Stops(FolderSource):
    """A source whose machine stops after some images."""

    num_left = 0

    def read(self, name: str) -> bytes:
        self.num_left -= 1
        if self.num_left < 0:
            raise KeyboardInterrupt
        return super().read(name)


CHUNK = 8


@pytest.mark.parametrize("num_read", range(41, 83, 3))
def test_a_pack_that_was_stopped_goes_on_to_the_same_bytes(
    images: Path, tmp_path: Path, num_read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("biggan_scale.data.pack.CHUNK", CHUNK)
    whole = pack(FolderSource(images), tmp_path / "whole", OPTIONS, workers=0)
    stops = Stops(images)
    stops.num_left = num_read
    if num_read < 82:
        with pytest.raises(KeyboardInterrupt):
            pack(stops, tmp_path / "out", OPTIONS, workers=0)
        assert not (tmp_path / "out" / "dataset.json").exists()
    resumed = pack(FolderSource(images), tmp_path / "out", OPTIONS, workers=1 if num_read == 62 else 0, resume=True)
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert (resumed.num_skipped, resumed.num_upscaled) == (whole.num_skipped, whole.num_upscaled) == (1, 0)
    num_converted = (num_read - 41) // CHUNK * CHUNK  # after 41 to choose the conversion
    assert num_converted - 8 <= resumed.num_resumed <= num_converted


def test_only_what_is_unfinished_is_read_again(images: Path, tmp_path: Path) -> None:
    pack(FolderSource(images), tmp_path / "out", OPTIONS, workers=0)
    before = files(tmp_path / "out")
    (tmp_path / "out" / "shard-00001.tar").unlink()
    flipped = bytearray(before["shard-00003.tar"])
    flipped[5000] ^= 1
    (tmp_path / "out" / "shard-00003.tar").write_bytes(flipped)
    source = Stops(images)
    source.num_left = 41 + 2 * 8  # 41 to choose the conversion, and the two shards
    packed = pack(source, tmp_path / "out", OPTIONS, workers=0, resume=True)
    assert files(tmp_path / "out") == before
    assert packed.num_resumed in range(41 - 16, 41 - 13)


def test_resuming_with_a_changed_source_or_other_options_is_refused(images: Path, tmp_path: Path) -> None:
    pack(FolderSource(images), tmp_path / "out", OPTIONS, workers=0)
    with pytest.raises(ConfigError, match="was begun differently: quality was 95 and is 90, seed was 0 and is 3; resume with the same"):
        pack(FolderSource(images), tmp_path / "out", PackOptions(shard_samples=7, on_error="report", quality=90, seed=3), resume=True)
    (images / "ant" / "new.png").write_bytes((images / "ant" / "image 0000 é.png").read_bytes())
    with pytest.raises(ConfigError, match="source was"):
        pack(FolderSource(images), tmp_path / "out", OPTIONS, workers=0, resume=True)


def test_an_image_that_has_changed_since_is_noticed(images: Path, tmp_path: Path) -> None:
    pack(FolderSource(images), tmp_path / "out", OPTIONS, workers=0)
    (tmp_path / "out" / "shard-00001.tar").unlink()
    other = (images / "bee" / "image 0001 é.png").read_bytes()
    for path in images.rglob("image*.png"):
        path.write_bytes(other)
    with pytest.raises(DataError, match=r"shard-00001\.tar: comes out differently now; the source has changed"):
        pack(FolderSource(images), tmp_path / "out", OPTIONS, workers=0, resume=True)


def test_an_unfinished_pack_is_not_overwritten_unasked(images: Path, tmp_path: Path) -> None:
    stops = Stops(images)
    stops.num_left = 60
    with pytest.raises(KeyboardInterrupt):
        pack(stops, tmp_path / "out", OPTIONS, workers=0)
    with pytest.raises(ConfigError, match="holds an unfinished pack; go on with --resume, or give --out a new or empty directory"):
        pack(FolderSource(images), tmp_path / "out", OPTIONS, workers=0)


def test_two_processes_do_not_pack_the_same(images: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    holder = "import sys, fcntl; f = open(sys.argv[1], 'a'); fcntl.lockf(f, fcntl.LOCK_EX); print(1, flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", holder, str(tmp_path / "out" / "pack.jsonl")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        with pytest.raises(EnvironmentFault, match="another process is packing here"):
            pack(FolderSource(images), tmp_path / "out", OPTIONS, workers=0, resume=True)
        process.communicate()


def test_a_torn_last_line_of_the_journal_is_dropped(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "pack.jsonl")
    journal.begin({"part": [1, 1]})
    journal.close()
    whole = (tmp_path / "pack.jsonl").read_bytes()
    (tmp_path / "pack.jsonl").write_bytes(whole + b'{"shard": nu')
    journal = Journal(tmp_path / "pack.jsonl")
    assert journal.header["part"] == [1, 1] and journal.entries == []
    journal.close()
    assert (tmp_path / "pack.jsonl").read_bytes() == whole


def test_a_pack_killed_with_its_workers_goes_on_to_the_same_bytes(images: Path, tmp_path: Path) -> None:
    make_folder(images, num=400)
    command = [sys.executable, "-m", "data_tools", "pack", "--source", str(images), "--out", str(tmp_path / "out"), "--workers", "2"]
    command += ["--shard-samples", "20", "--on-error", "report", "--resume"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "out" / "shard-00002.tar").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        workers = list(_children(process.pid))
        os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    options = PackOptions(shard_samples=20, on_error="report")
    pack(FolderSource(images), tmp_path / "out", options, workers=0, resume=True)
    pack(FolderSource(images), tmp_path / "whole", options, workers=0)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def _children(parent: int) -> Iterator[int]:
    for task in Path(f"/proc/{parent}/task").iterdir():
        yield from map(int, (task / "children").read_text().split())


def test_parts_make_one_data_set_with_every_sample_once(images: Path, tmp_path: Path) -> None:
    for number in (3, 1, 2):
        pack(FolderSource(images), tmp_path / "out", PackOptions(shard_samples=7, on_error="report", part=(number, 3)), workers=0)
        assert not (tmp_path / "out" / "dataset.json").exists()
    merged = merge(tmp_path / "out")
    assert merged.num_skipped == 1
    assert "broken" in (tmp_path / "out" / "report.jsonl").read_text()
    dataset = Dataset.open(tmp_path / "out")
    assert dataset.fingerprint == merged.dataset.fingerprint
    assert verify(dataset.path)[1] == []
    in_parts = [sample.key for shard in range(len(dataset.shards)) for sample in samples(dataset.shard_path(shard))]
    whole = pack(FolderSource(images), tmp_path / "whole", OPTIONS, workers=0).dataset
    assert in_parts == [sample.key for shard in range(len(whole.shards)) for sample in samples(whole.shard_path(shard))]
    assert dataset.label_histogram == whole.label_histogram


def test_parts_that_are_missing_unfinished_or_different_are_not_merged(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="no parts in it; make them with `biggan-data pack --part K/N`"):
        merge(out)

    def part(number: int, source: FolderSource | None = None, seed: int = 0) -> None:
        options = PackOptions(shard_samples=7, on_error="report", part=(number, 2), seed=seed)
        pack(source or FolderSource(images), out, options, workers=0, resume=True)

    part(1)
    with pytest.raises(DataError, match="part 2 of 2 is missing; pack it with --part 2/2"):
        merge(out)
    stops = Stops(images)
    stops.num_left = 50
    with pytest.raises(KeyboardInterrupt):
        part(2, stops)
    with pytest.raises(DataError, match=r"pack-2-of-2\.jsonl: part 2 of 2 is not finished; run it again with --resume"):
        merge(out)
    for path in out.glob("*2-of-2*"):
        path.unlink()
    part(2, seed=1)
    with pytest.raises(DataError, match=r"pack-2-of-2\.jsonl: was packed from another source or with other options than pack-1-of-2"):
        merge(out)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"crop": "adm"}, "--crop adm needs a size; say which with --resolution"),
        ({"crop": "adm", "resolution": (8, 9)}, "--crop adm makes squares; --resolution 9x8 is none"),
        ({"crop": "wide", "resolution": (9, 8)}, "--crop wide is for images wider than high"),
        ({"crop": "adm", "resolution": (8, 8), "filter": "box"}, "--crop adm has filters of its own"),
        ({"channels": 4, "encode": "jpeg"}, "--encode jpeg has no alpha"),
        ({"part": (3, 2)}, "--part 3/2: parts are counted from 1 to 2"),
        ({"part": (41, 100)}, "nothing to pack in it; there are only"),
    ],
)
def test_options_that_contradict_each_other_are_refused(images: Path, tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        pack(FolderSource(images), tmp_path / "out", PackOptions(**options), workers=0)
    assert not (tmp_path / "out").exists()


def test_the_journal_says_how_it_was_packed(images: Path, tmp_path: Path) -> None:
    pack(FolderSource(images), tmp_path / "out", OPTIONS, workers=0)
    header = json.loads((tmp_path / "out" / "pack.jsonl").read_text().splitlines()[0])
    assert header["options"]["shard_samples"] == 7 and header["source"]["images"] == 41
