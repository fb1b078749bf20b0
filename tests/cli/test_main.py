"""How every command begins and ends: help, one line for a mistake, the exit code, and who is told."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from biggan_scale import cli
from biggan_scale.config import CheckpointError, ConfigError, DataError, DoNotRequeue, EnvironmentFault, Preempted

ROOT = Path(__file__).parents[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, "-m", "biggan_scale.cli", *arguments], capture_output=True, text=True, env=env)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException | None], None]:
    """Puts in a command `act` that raises what it is told to."""

    def put(error: BaseException | None) -> None:
        def act(args: argparse.Namespace) -> int:
            if error is not None:
                raise error
            return 0

        module = ModuleType("act", "acts")
        vars(module).update(add_arguments=lambda parser: None, run=act)
        monkeypatch.setitem(cli.COMMANDS, "act", module)

    return put


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in cli.COMMANDS)], ids=" ".join)
def test_help_fits_a_screen(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    assert left.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 100


def test_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([])
    text = capsys.readouterr().out
    assert all(f"\n    {name} " in text for name in cli.COMMANDS)


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["sample", "--help"], ["train", "tiny", "nonsense"], ["train", "tiny", "--dry-run"], ["status", "nowhere"]],
    ids=" ".join,
)
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from biggan_scale.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "sys.exit(' '.join({'torch', 'numpy', 'PIL', 'safetensors', 'fsspec', 'submitit'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], env={"PYTHONPATH": str(ROOT)}, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("a.yaml:1: bad"), 2),
        (DataError("shard missing"), 3),
        (CheckpointError("corrupt"), 4),
        (EnvironmentFault("disk full"), 5),
        (Preempted("saved"), 75),
        (DoNotRequeue("diverged"), 93),
    ],
)
def test_mistake_is_one_line_and_its_exit_code(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    command(error)
    assert cli.main(["act"]) == code
    assert capsys.readouterr() == ("", f"biggan-scale act: {error}\n")


def test_several_mistakes_are_one_line_each(command: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    command(ConfigError("a.yaml:1: bad\na.yaml:2: worse"))
    assert cli.main(["act"]) == 2
    assert capsys.readouterr().err == "biggan-scale act: a.yaml:1: bad\nbiggan-scale act: a.yaml:2: worse\n"


def test_debug_adds_the_traceback(command: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    command(DataError("shard missing"))
    assert cli.main(["act", "--debug"]) == 3
    told = capsys.readouterr().err
    assert told.startswith("Traceback")
    assert told.endswith("\nbiggan-scale act: shard missing\n")


def test_bug_is_a_traceback_and_1(command: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    command(ZeroDivisionError("a bug"))
    assert cli.main(["act"]) == 1
    assert capsys.readouterr().err.startswith("Traceback")


def test_broken_pipe_that_is_not_stdout_is_a_bug(command: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command(BrokenPipeError(32, "a worker has died"))
    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert cli.main(["act"]) == 1


def test_interrupt_is_130(command: Callable[..., None]) -> None:
    command(KeyboardInterrupt())
    assert cli.main(["act"]) == 130


def test_rank_that_only_heard_of_an_error_says_nothing(command: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    error = DataError("shard missing")
    error.reported_elsewhere = True
    command(error)
    assert cli.main(["act"]) == 3
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "environment", [{"RANK": "3", "WORLD_SIZE": "4"}, {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4"}], ids=["torchrun", "slurm"]
)
def test_of_several_ranks_the_one_with_the_error_names_itself(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    command(DataError("shard missing"))
    cli.main(["act"])
    assert capsys.readouterr().err == "biggan-scale act: rank 3: shard missing\n"


@pytest.mark.parametrize(("error", "code"), [(Preempted("saved"), 0), (DoNotRequeue("diverged"), 0), (DataError("bad"), 3)])
def test_under_torchrun_a_stop_in_good_order_is_0(
    command: Callable[..., None], monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    command(error)
    assert cli.main(["act"]) == code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "biggan-scale: argument COMMAND: invalid choice: 'trian'"),
        (["train"], "biggan-scale train: the following arguments are required: CONFIG; see biggan-scale train --help\n"),
        (["status", "a", "--jsno"], "biggan-scale status: unrecognized arguments: --jsno; see biggan-scale status --help\n"),
        (["sample", "a", "--num", "0", "--out", "b"], "biggan-scale sample: argument --num: '0' is not a whole number of at least 1;"),
        (
            ["sample", "a", "--num", "1", "--out", "b", "--classes", "0;3"],
            "biggan-scale sample: argument --classes: '0;3' is not a list of",
        ),
        (["import", "a", "--from", "b", "--out", "c"], "biggan-scale import: argument --from: invalid choice: 'b'"),
    ],
)
def test_wrong_command_line_is_one_line_and_2(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith(message)
    assert told.count("\n") == 1


def test_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m biggan_scale.cli train tiny --print-config | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_module_runs_for_torchrun() -> None:
    done = run("train", "tiny", "batch_size=x")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "biggan-scale train: command line: batch_size: expected a whole number, got 'x'\n"
