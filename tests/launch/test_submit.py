"""What `biggan-launch submit` asks of Slurm, and what it refuses. No Slurm is needed."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from launch import fit, job, render, snapshot, submission
from launch.cli import VERBS, main

ROOT = Path(__file__).resolve().parents[2]


def dry_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    where = [f"run_dir={tmp_path / 'run'}", "--shared-paths", str(tmp_path)]
    assert main(["submit", "tiny", *where, "--dry-run", *arguments]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def asked(script: str) -> set[str]:
    return {line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH")}


def test_one_task_for_each_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = dry_run(tmp_path, capsys, "--nodes", "2", "--gpus-per-node", "4", "--cpus-per-rank", "6")
    assert {"--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=4", "--cpus-per-task=6"} <= asked(script)
    assert {"--requeue", "--open-mode=append", "--signal=USR2@120"} <= asked(script)
    assert "--kill-on-bad-exit=1" in script and "--cpus-per-task=6 " in script
    assert f"exec {sys.executable} -m launch.attempt" in script


def test_torchrun_has_one_agent_on_each_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = dry_run(tmp_path, capsys, "--backend", "torchrun", "--nodes", "2", "--gpus-per-node", "4", "--cpus-per-rank", "6")
    assert {"--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=4", "--cpus-per-task=24"} <= asked(script)
    assert "--nnodes=2 --nproc-per-node=4 --max-restarts=3" in script
    assert 'trap "" USR2; exec' in script
    assert "export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1\n" in script, "restarted workers would look for dead ones"


@pytest.mark.parametrize("backend", ["submitit", "torchrun"])
def test_every_option_reaches_the_script(backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {
        "mem": "100G",
        "time": "1-00:00:00",
        "account": "me",
        "qos": "long",
        "constraint": "a100|h100",
        "gres": "gpu:a100:1",
        "exclude": "n7",
        "nodelist": "n[1-4]",
        "reservation": "r",
        "dependency": "afterok:1",
        "comment": "two words",
        "mail-type": "END",
        "mail-user": "a@b",
        "job-name": "night",
    }
    flags = [word for name, value in values.items() for word in (f"--{name}", value)]
    further = ["--exclusive", "--setup", "module load cuda", "--setup", "ulimit -n 4096", "--environment", "NCCL_DEBUG=INFO"]
    raw = ["--extra-sbatch=--nice=10", "--extra-srun=--cpu-bind=none", "--container-image", "a.sqsh", "--container-mounts", "/d:/d"]
    script = dry_run(tmp_path, capsys, "--backend", backend, *flags, *further, *raw)
    assert {f"--{name}={shlex.quote(value)}" for name, value in values.items()} | {"--exclusive", "--nice=10"} <= asked(script)
    assert not any(line.startswith("--gpus-per-node") for line in asked(script)), "gres is asked for instead"
    assert "\nmodule load cuda\nulimit -n 4096\n" in script and "export NCCL_DEBUG=INFO\n" in script
    assert all(option in script for option in ("--cpu-bind=none", "--container-image=a.sqsh", "--container-mounts=/d:/d"))
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_flags_and_the_slurm_block_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.yaml"
    page.write_text(f"base: tiny\nrun_dir: {tmp_path}/run\nslurm: {{nodes: 2, mem: 8G, shared_paths: [{tmp_path}], setup: [a b]}}\n")
    assert main(["submit", str(page), "--dry-run"]) == 0
    from_page = capsys.readouterr().out
    assert from_page == dry_run(tmp_path, capsys, "--nodes", "2", "--mem=8G", "--setup", "a b")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--partitin", "x"], "unknown option --partitin; did you mean '--partition'?"),
        (["slurm.acount=x"], "command line: unknown key 'slurm.acount'; did you mean 'account'?"),
        (["--nodes", "3"], "batch_size 16 is not divisible by 3 ranks; nearest: 15 or 18"),
        (["--time", "5"], "slurm.time 5 is too short: at least 6 min, three times warn_s (120 s)"),
        (["--time", "soon"], "slurm.time 'soon' is not a time of Slurm's"),
        (["--extra-sbatch=nice"], "slurm.extra_sbatch 'nice' must begin with --"),
        (["--extra-sbatch=--wait"], "slurm.extra_sbatch '--wait': --wait would hide the job from biggan-launch"),
        (["--device", "a100-4gb"], "unknown device 'a100-4gb'; did you mean 'a100-40gb'?"),
        (["--device", "v100-16gb", "batch_size=65536"], "GB per rank, v100-16gb has 16 (90% usable): set micro_batch="),
        (["--nodes", "0"], "slurm.nodes 0 must be at least 1"),
        (["batch_sise=3"], "did you mean 'batch_size'?"),
        (["run_dir=/tmp/somewhere"], "run_dir /tmp/somewhere is in /tmp, which each node has its own of"),
        (["data.path=nowhere/shards"], "command line: data.path nowhere/shards is not a folder; biggan-data pack"),
        (["data.path=/dev/shm"], "data.path /dev/shm is in /dev/shm, which each node has its own of"),
        (["run_dir=/dev/shm/x"], "run_dir /dev/shm/x is in /dev/shm"),
    ],
    ids=" ".join,
)
def test_mistake_is_told_in_one_line_before_the_queue(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "tiny", *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1


def test_plan_is_told_where_the_device_is_named(tmp_path: Path) -> None:
    settings = [f"run_dir={tmp_path / 'run'}", f"slurm.shared_paths=[{tmp_path}]"]
    assert fit.told([job.plan("tiny", settings, "submitit")]) == []
    planned = [
        job.plan("tiny", [*settings, "slurm.device=a100-40gb", point], "submitit") for point in ("seed=0", "seed=1", "batch_size=32")
    ]
    lines = fit.told(planned)
    assert len(lines) == 2, "a seed needs no plan of its own"
    assert all(line.startswith("planned: 0.0 of 40 GB per rank on a100-40gb, at least 0.0 h") for line in lines)


def test_torch_is_loaded_only_to_plan(tmp_path: Path) -> None:
    where = [f"run_dir={tmp_path / 'run'}", "--shared-paths", str(tmp_path)]
    command = [sys.executable, "-X", "importtime", "-m", "launch", "submit", "tiny", *where, "--dry-run"]
    assert "torch" not in imported(command)
    assert "torch" in imported([*command, "--device", "a100-40gb"])


@pytest.mark.parametrize("backend", ["submitit", "torchrun"])
def test_job_inherits_nothing_of_a_job_that_it_is_submitted_from(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(f"#!/bin/sh\nenv >{tmp_path}/environment\ncase $1 in --parsable) echo 42 ;; *) echo Submitted batch job 42 ;; esac\n")
    (sbatch.parent / "srun").write_text("#!/bin/sh\n")  # by which submitit knows that there is Slurm
    for name in ("scontrol", "sinfo", "squeue"):  # an installed Slurm would look for its controller, for a minute
        (sbatch.parent / name).write_text("#!/bin/sh\nexit 1\n")
    for command in sbatch.parent.iterdir():
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sbatch.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    where = [f"run_dir={tmp_path / 'run'}", "--shared-paths", str(tmp_path)]
    assert main(["submit", "tiny", *where, "--backend", backend]) == 0
    names = {line.partition("=")[0] for line in (tmp_path / "environment").read_text().splitlines()}
    assert "SLURM_CONF" in names and "SLURM_CPUS_PER_TASK" not in names
    assert os.environ["SLURM_CPUS_PER_TASK"] == "1"


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (["seed=0"], "--grid seed=0 is one point"),
        (["seed"], "--grid 'seed' is not key=a,b"),
        (["slurm.nodes=1,2"], "--grid 'slurm.nodes=1,2': slurm.nodes is the same for all runs of a sweep"),
        (["run_dir=a,b"], "run_dir is the same for all runs of a sweep"),
        (["seed=0,1", "sede=1,2"], "unknown key 'sede'; did you mean 'seed'?"),
    ],
    ids=" ".join,
)
def test_grid_that_is_none_is_told_in_one_line(grid: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = [f"run_dir={tmp_path / 'run'}", "--shared-paths", str(tmp_path)]
    assert main(["sweep", "tiny", *where, *(word for axis in grid for word in ("--grid", axis)), "--dry-run"]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1


def test_job_runs_the_snapshot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = dry_run(tmp_path, capsys)
    (code,) = (tmp_path / "run" / "launch").glob("code-*")
    assert f"export PYTHONPATH={code}$" in script and f"\ncd {code}\n" in script
    assert (code / "launch" / "attempt.py").read_bytes() == (ROOT / "launch" / "attempt.py").read_bytes()
    assert not list(code.rglob("__pycache__"))
    files = sorted(path.relative_to(code) for path in code.rglob("*") if path.is_file())
    assert snapshot.sha256_of(code, files)[:12] == code.name.removeprefix("code-")


def test_job_runs_the_configuration_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dry_run(tmp_path, capsys, "seed=7")
    written = tmp_path / "run" / "launch" / "config.yaml"
    assert f"run_dir: {tmp_path / 'run'} " in written.read_text()
    assert any(line.startswith("seed: 7 ") for line in written.read_text().splitlines())


def test_both_ways_ask_slurm_for_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    submitit = pytest.importorskip("submitit")
    script = dry_run(tmp_path, capsys, "--mem", "8G", "--exclusive")
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda cls: 2))
    settings = [f"run_dir={tmp_path / 'run'}", f"slurm.shared_paths=[{tmp_path}]", "slurm.mem=8G", "slurm.exclusive=true"]
    planned = job.plan("tiny", settings, "submitit")
    executor = submission.executor(planned, render.directives(planned.config, "submitit", planned.logs))
    assert asked(executor._make_submission_file_text("true", "id")) == asked(script)


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_is_quick_and_fits_a_screen(verb: str) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "launch", *([verb] if verb else []), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "80"}, cwd=ROOT)
    assert "torch" not in _modules(done.stderr)
    assert len(done.stdout.splitlines()) <= 40
    assert max(map(len, done.stdout.splitlines())) <= 80


def imported(command: list[str]) -> set[str]:
    """The modules that `python -X importtime ...` loads."""
    return _modules(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stderr)


def _modules(importtime: str) -> set[str]:
    return {line.split("|")[-1].strip() for line in importtime.splitlines()}
