"""One batch of NaNs, and memory that runs out, in whole runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from biggan_scale import load
from faults.forked import Attempt
from faults.toys import page
from support.command import manifests, rounds_logged, state_of

FEW = ("until=12 rounds",)
END = 12 * 16


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_that_met_a_batch_of_nans_ends_as_one_that_never_saw_it(images: Path, tmp_path: Path, ranks: int) -> None:
    digests = {}
    for name, faults in {"met": f"nan at round 5 on rank {ranks - 1}", "spared": "skip at round 5", "whole": ""}.items():
        attempt = Attempt(*page(tmp_path / name, images), *FEW, ranks=ranks, faults=faults)
        assert set(attempt.wait()) == {0}, attempt.said()
        assert ("round 5: an image was not finite; the round was skipped (1 of 10 in a row)" in attempt.said()) == (name == "met")
        digests[name] = manifests(tmp_path / name)[END]["state_sha256"]
    assert digests["met"] == digests["spared"] != digests["whole"]
    assert rounds_logged(tmp_path / "met") == list(range(1, 13))
    if ranks == 1:
        for weights in ("ema", "raw"):
            assert torch.isfinite(load(tmp_path / "met", weights=weights).sample(num=16, seed=0)).all()


def test_memory_that_runs_out_is_one_line_and_what_to_do(images: Path, tmp_path: Path) -> None:
    arguments = page(tmp_path / "run", images)
    attempt = Attempt(*arguments, *FEW, faults="memory at round 5")
    assert attempt.wait() == [5], attempt.said()
    last = attempt.said().splitlines()[-1]
    assert "out of memory (" in last and "try a micro_batch below 16: batch_size stays" in last
    assert "Traceback" not in attempt.said()
    assert state_of(tmp_path / "run")["exit_code"] == 5
    assert Attempt(*arguments, *FEW, "micro_batch=8").wait() == [0]
