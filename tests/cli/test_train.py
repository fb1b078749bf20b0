"""What `train` does before the engine is asked."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from biggan_scale.cli import main
from biggan_scale.config import Loaded, load_config


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Loaded]:
    """An engine that only notes what it is given."""
    received: list[Loaded] = []
    engine = ModuleType("biggan_scale.engine.train")
    vars(engine).update(train=lambda loaded: received.append(loaded) or 0)
    monkeypatch.setitem(sys.modules, "biggan_scale.engine.train", engine)
    return received


def test_engine_gets_the_configuration(trained: list[Loaded]) -> None:
    assert main(["train", "tiny", "seed=4", "batch_size=32"]) == 0
    (loaded,) = trained
    assert (loaded.config.seed, loaded.config.batch_size) == (4, 32)


@pytest.mark.parametrize(
    "arguments",
    [["--dry-run", "tiny", "batch_size=32"], ["tiny", "--dry-run", "batch_size=32"], ["tiny", "batch_size=32", "--dry-run"]],
    ids=" ".join,
)
def test_dry_run_says_in_one_line_what_would_run(arguments: list[str], trained: list[Loaded], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *arguments]) == 0
    assert not trained
    assert capsys.readouterr().out == (
        "runs/tiny: gan on packaged:emoji64, 3 x 32 x 32, 9 classes; "
        "batch_size 32 = 1 (ranks) x 1 (micro-batches) x 32 (images); fp32, ddp; until 20 rounds\n"
    )


@pytest.mark.parametrize("variable", ["WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"])
def test_dry_run_checks_for_the_ranks_of_the_job(
    variable: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "3")
    assert main(["train", "tiny", "--dry-run"]) == 2
    assert capsys.readouterr().err.endswith("batch_size 16 is not divisible by 3 ranks; nearest: 15 or 18\n")


def test_batch_that_does_not_divide_never_reaches_the_engine(trained: list[Loaded], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert main(["train", "tiny"]) == 2
    assert not trained


@pytest.mark.parametrize(
    ("variables", "lines"),
    [
        ({"WORLD_SIZE": "3", "RANK": "0", "LOCAL_RANK": "0"}, 1),
        ({"WORLD_SIZE": "3", "RANK": "2", "LOCAL_RANK": "2"}, 0),
        ({"WORLD_SIZE": "3", "RANK": "2", "LOCAL_RANK": "0"}, 1),  # of another node, whose files may be others
        ({"SLURM_STEP_NUM_TASKS": "3", "SLURM_PROCID": "1", "SLURM_LOCALID": "1"}, 0),
    ],
)
@pytest.mark.parametrize("argument", ["batch_size=16", "batchsize=16"])
def test_one_rank_of_a_node_says_what_is_wrong_with_the_configuration(
    variables: dict[str, str], lines: int, argument: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    assert main(["train", "tiny", argument]) == 2
    assert capsys.readouterr().err.count("\n") == lines
    assert len(slept) == 1 - lines, "torchrun ends all ranks when the first leaves: that must be the one that speaks"


def test_batch_script_of_many_tasks_is_itself_one_process(trained: list[Loaded], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "3")
    assert main(["train", "tiny"]) == 0
    assert len(trained) == 1


def test_printed_configuration_is_a_page_that_means_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "tiny", "--print-config", "seed=4"]) == 0
    text = capsys.readouterr().out
    assert "\nseed: 4 " in text
    assert "# command line\n" in text
    (tmp_path / "copy.yaml").write_text(text)
    assert load_config(str(tmp_path / "copy.yaml")).config == load_config("tiny", ["seed=4"]).config
