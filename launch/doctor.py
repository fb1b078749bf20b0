"""find out what would go wrong, before a long run does

Asks this machine, Slurm, and by a job of some seconds the nodes: whether they share the run directory, find each other by name and port,
have the same torch, let signals through, and can ask Slurm; and whether jobs may be requeued. Says in words what is wrong. Takes the
flags of submit.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from biggan_scale.config.errors import EnvironmentFault
from launch import job, options, render, site, slurm
from launch.site import BAD, GOOD, Finding

PATIENCE_S = 90  # for the nodes to be free, and to answer
SIGNALS = ("SIGUSR2", "SIGTERM")  # a run listens to both
# What a step of some seconds does not ask for: files, mails, another limit, and to be waited for.
NOT_OF_A_STEP = (
    "open-mode",
    "output",
    "error",
    "signal",
    "time",
    "time-min",
    "mail-type",
    "mail-user",
    "dependency",
    "begin",
    "hold",
    "wait",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_arguments(parser)
    options.add_backend(parser)


def run(args: argparse.Namespace) -> int:
    planned = job.plan(args.config, args.overrides, "torchrun")  # one task per node
    findings = [*commands(args.backend), *site.findings(planned.config.slurm.partition)]
    if all(kind != BAD for kind, _ in findings):
        findings += [*site.requeueing(options_of_sbatch(planned)), *nodes(planned)]
    for kind, text in findings:
        print(f"{kind:6}{text}")
    return EnvironmentFault.exit_code if any(kind == BAD for kind, _ in findings) else 0


def commands(backend: str) -> Iterator[Finding]:
    """What must be installed here."""
    for name in ("sbatch", "srun", "squeue", "scontrol", "scancel"):
        if shutil.which(name) is None:
            yield BAD, f"{name} is not here: run this where Slurm's commands are, like a login node"
    try:
        yield GOOD, f"submitit {importlib.metadata.version('submitit')}"
    except importlib.metadata.PackageNotFoundError:
        if backend == "submitit":
            yield BAD, "submitit is not installed: use --backend torchrun, or pip install 'biggan_scale[slurm]'"


def options_of_sbatch(planned: job.Job, without: Sequence[str] = ("output", "mail-type", "mail-user")) -> list[str]:
    """What the run would ask of Slurm, as options on a command line."""
    asked = render.directives(planned.config, planned.backend, planned.logs)
    return [f"--{name}" if value is True else f"--{name}={value}" for name, value in asked.items() if name not in without]


def options_of_srun(planned: job.Job) -> list[str]:
    """The same for a step of some seconds; what only sbatch knows, like --no-requeue, is nothing to ask a step for."""
    known = set(re.findall(r"--([a-z][a-z-]*)", slurm.command("srun", "--help")))
    wanted = options_of_sbatch(planned, without=NOT_OF_A_STEP)
    return [option for option in wanted if option.removeprefix("--").partition("=")[0] in known]


def nodes(planned: job.Job) -> Iterator[Finding]:
    """What the nodes say, in a step of some seconds. They are asked for as the job would ask."""
    planned.run_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".doctor-", dir=planned.run_dir) as folder:
        (Path(folder) / "token").touch()
        try:
            answers = _ask(planned, Path(folder))
        except EnvironmentFault as error:
            yield BAD, str(error)
            return
    yield from judge(answers, planned.config.slurm.nodes, planned.run_dir)


def judge(answers: Sequence[dict[str, Any]], num_nodes: int, run_dir: Path) -> Iterator[Finding]:
    """What the nodes' answers mean."""
    yield (GOOD if len(answers) == num_nodes else BAD), f"{len(answers)} of {num_nodes} nodes answered"
    here = _version("torch")
    for node in sorted(answers, key=lambda node: (len(node["host"]), node["host"])):  # n2 before n10
        wrong = []
        if not node["shared"]:
            wrong.append(f"does not see {run_dir}: choose a folder that all nodes share")
        if not node["resolves"]:
            wrong.append("cannot resolve the first node's name: tell the site, or set MASTER_ADDR in slurm.environment")
        elif not node["reaches"]:
            wrong.append(
                "cannot reach the first node's port: a firewall, or the wrong network; NCCL_SOCKET_IFNAME, GLOO_SOCKET_IFNAME choose one"
            )
        if not node["torch"]:
            wrong.append("has no torch in its Python: slurm.python, slurm.setup or slurm.container_image say which")
        elif node["torch"] != here:
            wrong.append(f"has torch {node['torch']}, here it is {here}: runs go on exactly only with the same")
        if not node["asks_slurm"]:
            wrong.append("cannot ask Slurm (scontrol): a stopped run would wait for biggan-launch requeue")
        if node["shared"] and (lost := [name for name in SIGNALS if name not in node["signals"]]):
            who = "something between Slurm and Python keeps signals to itself, and a preempted run would not save"
            wrong.append(f"got no {' and no '.join(lost)}: {who}")
        told = "; ".join(wrong) or f"shares the folder, resolves, connects, asks Slurm, hears {' and '.join(SIGNALS)}"
        yield (BAD if wrong else GOOD), f"{node['host']}: {told}"


def _ask(planned: job.Job, folder: Path) -> list[dict[str, Any]]:
    wanted = options_of_srun(planned)
    code = f"export PYTHONPATH={render.quoted(job.snapshot.ROOT)}"
    head = 'HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)'
    python = render.quoted(Path(planned.config.slurm.python or sys.executable))
    probe = f'exec {python} -m launch.probe {render.quoted(folder)} "$HEAD" $((20000 + SLURM_JOB_ID % 10000))'
    script = "\n".join([*planned.config.slurm.setup, code, head, probe])
    # --time: a minute is enough, and short jobs start early
    command = ["srun", "--quiet", "--time=2", f"--immediate={PATIENCE_S}", *wanted, "bash", "-c", script]
    with slurm.outside_of_jobs():
        step = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        _signal_when_ready(planned.config.slurm.nodes, folder, step)
        out, err = step.communicate(timeout=2 * PATIENCE_S)
    finally:
        step.kill()
    answers = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    if not answers:
        told = [line.split("error: ")[-1] for line in err.splitlines() if line.strip()]
        raise EnvironmentFault(f"srun: {told[-1] if told else f'exit code {step.returncode}'}")
    return answers


def _signal_when_ready(num_nodes: int, folder: Path, step: subprocess.Popen[str]) -> None:
    """As `biggan-launch stop` and preemption do: Slurm signals the step."""
    deadline = time.monotonic() + PATIENCE_S
    ready: list[Path] = []
    while len(ready) < num_nodes and step.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
        ready = list(folder.glob("ready-*"))
    for name in SIGNALS:
        if ready and step.poll() is None:
            slurm.command("scancel", f"--signal={name}", ready[0].name.split("-")[-1])


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
