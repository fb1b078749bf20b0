"""The best checkpoint of a run, by its evaluations, stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from biggan_scale.engine import checkpoint
from biggan_scale.engine.best import EVALUATIONS, best_evaluated
from biggan_scale.engine.checkpoint import TrainingState
from biggan_scale.engine.saving import Saver


def evaluation(nimg: int, fid: Any, num: int = 1000) -> str:
    """A line as `biggan-scale evaluate` writes it, on another machine's path."""
    path = f"/elsewhere/run/checkpoints/{checkpoint.directory_name(nimg)}"
    record = {
        "metrics": {"fid": {"value": fid}},
        "source": {"path": path, "weights": "ema"},
        "data": {"real": {"fingerprint": "f", "num": num}},
    }
    return json.dumps(record) + "\n"


def test_the_lowest_fid_under_the_conditions_of_the_newest_is_the_best(tmp_path: Path) -> None:
    assert best_evaluated(tmp_path) is None
    lines = [evaluation(10, 1.0, num=10), evaluation(20, 5.0), evaluation(30, 7.0), evaluation(40, None), "[3]\n", "{}\n", '{"met']
    (tmp_path / EVALUATIONS).write_text("".join(lines))
    assert best_evaluated(tmp_path) == tmp_path / "checkpoints" / checkpoint.directory_name(20)


def test_the_best_checkpoint_is_kept_until_there_is_a_better(tmp_path: Path) -> None:
    def save(nimg: int) -> None:
        saver.save(TrainingState({}, {}, {}, {"nimg": nimg, "round": nimg}), {})
        saver.wait()

    saver = Saver(tmp_path / "checkpoints", 2, print, lambda: [path] if (path := best_evaluated(tmp_path)) else [])
    kept: list[list[int]] = []
    for nimg in range(10, 70, 10):
        save(nimg)
        if nimg in (20, 50):
            with (tmp_path / EVALUATIONS).open("a") as file:
                file.write(evaluation(nimg, 100.0 - nimg))
        kept.append([checkpoint.manifest_of(path)["nimg"] for path in checkpoint.checkpoints(tmp_path / "checkpoints")])
    assert kept == [[10], [20, 10], [30, 20], [40, 30, 20], [50, 40, 20], [60, 50]]
