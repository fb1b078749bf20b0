"""An evaluation by srun that is told to stop."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import pytest

from tests.cluster.conftest import Walk
from tests.cluster.local_slurm import TIMEOUT_S, Cluster, wait


@pytest.mark.slow  # the images are packed and two processes start, three times
@pytest.mark.timeout(2 * TIMEOUT_S)
@pytest.mark.parametrize("signal", ["TERM", "USR2", "INT"])
def test_a_signal_ends_an_evaluation_on_every_rank(
    cluster: Cluster, walk: Walk, signal: str, record_property: Callable[[str, object], None]
) -> None:
    walk.run.wait_ended("COMPLETED")
    cache, log = cluster.folder / f"cache-{signal}", cluster.folder / f"evaluate-{signal}.log"
    evaluate = f"{sys.executable} -m biggan_scale.cli evaluate {walk.run.run_dir} --data packaged:emoji64 --num 100000000 --json"
    script = f"export BIGGAN_SCALE_CACHE={cache}; srun --kill-on-bad-exit=0 {evaluate}; echo ended with $?"
    told = cluster.run("sbatch", "--parsable", "-N2", "--ntasks-per-node", "1", "-o", log, "--wrap", script)
    wait(lambda: list(cache.glob("features/*.safetensors")), lambda: f"no images were generated: {log.read_text()}")
    cluster.run("scancel", f"--signal={signal}", told.stdout.strip())
    signalled = time.monotonic()
    wait(lambda: "ended with" in log.read_text(), lambda: f"it went on: {log.read_text()}")
    record_property("reaction_s", round(time.monotonic() - signalled, 2))
    assert "ended with 75" in log.read_text()
    assert f"SIG{signal}: stopped before the end, and nothing was written" in log.read_text()
    assert not (walk.run.run_dir / "evaluations.jsonl").exists()
