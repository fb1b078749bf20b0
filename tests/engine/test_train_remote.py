"""A run does not depend on where its shards are: fed by a web server that fails all the time it ends in the same bits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from biggan_scale.data.bad_samples import MOST_TOLD
from biggan_scale.data.index import Dataset
from biggan_scale.data.packaged import open_dataset
from support import http
from support.command import finish, manifests, train

SETTINGS = (
    "tiny",
    "until=10 rounds",
    "checkpoint.every=5 rounds",
    "log.every=1 rounds",
    "log.tensorboard=false",
    "snapshot.every=1 Mimg",
    "data.timeout_s=1",
    "data.window=4",
)
END = 10 * 2 * 16  # images: 10 rounds of 2 batches
FAULTS = (http.status(500), http.cut, http.flip_a_bit, http.shorten, http.status(503))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    packaged = open_dataset("packaged:emoji64", resolution=32, channels=3)
    return Path(shutil.copytree(packaged.path, tmp_path_factory.mktemp("data") / "emoji"))


@pytest.mark.slow  # three runs of the command
def test_a_run_from_a_flaky_server_ends_in_the_state_of_a_local_one(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, stderr = finish(train(*SETTINGS, f"data.path={shards}", f"run_dir={tmp_path / 'local'}"))
    assert code == 0, stderr
    monkeypatch.setenv("BIGGAN_SCALE_CACHE", str(tmp_path / "cache"))
    names = sorted(path.name for path in shards.iterdir())
    with http.Server(shards) as server:
        for number, name in enumerate(names):
            if name.startswith("shard-"):
                server.fail(name, FAULTS[number % len(FAULTS)], times=1)
        server.fail(names[-1], http.stall)
        server.fail("dataset.json", http.status(500))
        remote = (*SETTINGS, f"data.path={server.url}", f"run_dir={tmp_path / 'remote'}")
        code, stderr = finish(train(*remote, "until=5 rounds"))
        assert code == 0, stderr
        code, stderr = finish(train(*remote, "data.workers=0", "data.cache_gb=1"))
        assert code == 0, stderr
        assert "resumed at 0.160 kimg" in stderr
        num_failed = sum(count > 1 for name, count in server.requests.items() if name.startswith("shard-"))
    assert num_failed >= 8  # two windows of four shards and their indexes, at the least
    assert manifests(tmp_path / "remote")[END]["state_sha256"] == manifests(tmp_path / "local")[END]["state_sha256"]
    records = [json.loads(line) for line in (tmp_path / "remote" / "metrics.jsonl").read_text().splitlines()]
    assert [record["data/bad_samples"] for record in records] == [0.0] * 10


@pytest.mark.slow  # starts two ranks
def test_two_ranks_download_each_shard_once(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIGGAN_SCALE_CACHE", str(tmp_path / "cache"))
    with http.Server(shards) as server:
        server.delay_s = 0.05
        code, stderr = finish(train(*SETTINGS, "until=3 rounds", f"data.path={server.url}", f"run_dir={tmp_path / 'run'}", ranks=2))
        assert code == 0, stderr
        asked = {name: count for name, count in server.requests.items() if name.startswith("shard-")}
    assert len(asked) >= 8 and set(asked.values()) == {1}


def test_a_server_that_is_down_is_one_line_and_exit_code_3(shards: Path, tmp_path: Path) -> None:
    with http.Server(shards) as server:
        pass
    code, stderr = finish(train("tiny", "data.tries=2", f"data.path={server.url}", f"run_dir={tmp_path}"))
    assert code == 3
    (line,) = [line for line in stderr.splitlines() if line]
    assert f"{server.url}/dataset.json: Connection refused (tried 2 times)" in line


@pytest.mark.slow  # two runs
def test_bad_images_are_told_and_counted_and_the_run_goes_on_until_they_are_too_many(shards: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(shards, tmp_path / "shards"))
    dataset = Dataset.open(copy)
    for shard in range(len(dataset.shards)):
        content = bytearray(dataset.shard_path(shard).read_bytes())
        for row in dataset.load_index(shard)[::5]:
            content[row["offset"] + row["size"] - 1] ^= 1
        dataset.shard_path(shard).write_bytes(content)
    arguments = (*SETTINGS, f"data.path={copy}")
    code, stderr = finish(train(*arguments, f"run_dir={tmp_path / 'run'}", "data.max_bad_share=0.5"))
    assert code == 0, stderr
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert END / 10 < records[-1]["data/bad_samples"] < END / 3  # about a fifth
    assert stderr.count("was taken instead") == MOST_TOLD
    code, stderr = finish(train(*arguments, f"run_dir={tmp_path / 'strict'}"))
    assert code == 3
    assert "samples since the start were bad, data.max_bad_share 0.001 allows 10; the last: " in stderr.splitlines()[-1]


@pytest.mark.slow  # two runs
def test_a_stream_trains_and_says_at_each_start_that_it_is_statistical(shards: Path, tmp_path: Path) -> None:
    with http.Server(shards) as server:
        arguments = (*SETTINGS, f"data.path=stream:{server.url}/shard-{{00000..00014}}.tar", f"run_dir={tmp_path}")
        code, stderr = finish(train(*arguments, "until=5 rounds"))
        assert code == 0, stderr
        assert "data.path stream:: statistical: samples are drawn, not counted through\n" in stderr
        code, stderr = finish(train(*arguments))
        assert code == 0, stderr
        assert "it begins anew at 0.160 kimg, which does not repeat what an undisturbed run would do" in stderr
        code, stderr = finish(train(*arguments, f"data.path=stream:{server.url}/shard-{{00000..00013}}.tar", "until=11 rounds"))
        assert code == 4 and "is not the data set that" in stderr
    assert END in manifests(tmp_path)
