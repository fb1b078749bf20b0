"""What `plan` prints, for programs and for people."""

from __future__ import annotations

import dataclasses
import json

import pytest

from biggan_scale.cli import main
from biggan_scale.cli.plan import describe, span
from biggan_scale.config import load_config
from biggan_scale.engine.plan import make_plan


def test_json_is_one_object_with_every_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "tiny", "batch_size=32", "--world", "2", "--device", "a100-40gb", "--json"]) == 0
    told = capsys.readouterr()
    plan = json.loads(told.out)
    assert (told.out.count("\n"), told.err) == (1, "")
    assert (plan["world"], plan["micro_batch"], plan["fits"], plan["device_gb"]) == (2, 16, True, 40)
    assert all(plan[what] > 0 for what in ("weights", "optimizer", "ema", "gradients", "buckets", "activations", "peak"))
    assert plan["seconds"] == pytest.approx(plan["until_images"] / plan["img_per_s"])


def test_people_are_told_what_does_not_fit_and_what_would() -> None:
    plan = make_plan(load_config("tiny").config, 1, "v100-16gb")
    too_large = dataclasses.replace(plan, peak=20_000_000_000, micro_batch=16, max_micro_batch=8)
    assert "no: needs 20.0 GB per rank, v100-16gb has 16 (90% usable): set micro_batch=8 (2 x accumulation)" in describe(too_large)


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.2, "4 s"), (150, "2.5 min"), (5400, "1.5 h"), (86_400 * 20, "20.0 d"), (86_400 * 4000, "4,000.0 d")]
)
def test_time_has_the_unit_that_suits_it(seconds: float, text: str) -> None:
    assert span(seconds) == text
