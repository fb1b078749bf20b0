"""The batch script of a job: what it asks of Slurm, and what it starts. One page, to be read and edited by hand if need be.

    #SBATCH lines, setup lines, environment
    exec python -m launch.attempt RUN -- srun ... biggan_scale.cli train ...

Backend submitit starts one training process per GPU by `srun`. Backend torchrun starts one agent per node by `srun`, which starts the
node's processes and restarts them when one dies. `launch/attempt.py` waits for them and decides whether the job runs again.

Signals. `--signal=USR2@S` and preemption reach every process of the step, the training processes too; `exec` leaves no shell among
them that could die first. torchrun's agent would die of USR2 and take its workers along, so it is started with USR2 ignored, which the
workers undo for themselves. SIGTERM it passes on, and waits for the workers to save.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from biggan_scale.config import RunConfig

BACKENDS = ("submitit", "torchrun")
RUN = '"$RUN"'  # set in the script: a path, or for an array that of the element


def directives(config: RunConfig, backend: str, logs: Path, array: int | None = None) -> dict[str, str | int | bool]:
    """What is asked of Slurm: option of sbatch -> value."""
    slurm = config.slurm
    ranks = slurm.ranks if backend == "submitit" else 1
    asked: dict[str, str | int | bool | None] = {
        "job-name": slurm.job_name or Path(config.run_dir).name,
        "nodes": slurm.nodes,
        "ntasks-per-node": ranks,
        "gpus-per-node": slurm.gpus_per_node if slurm.gpus_per_node and not slurm.gres else None,
        "gres": slurm.gres,
        "cpus-per-task": slurm.cpus_per_rank and slurm.cpus_per_rank * (slurm.ranks // ranks),
        "signal": f"USR2@{slurm.warn_s}",  # to the processes of the step; with B: only this script would hear of it
        "requeue": True,
        "open-mode": "append",  # a requeued job goes on in the same file
        "output": str(logs / ("%A_%a.log" if array else "%j.log")),
        "array": f"0-{array - 1}{f'%{slurm.array_limit}' if slurm.array_limit else ''}" if array else None,
    }
    same_name = ("mem", "time", "partition", "account", "qos", "constraint", "nodelist", "exclude", "reservation", "dependency", "comment")
    asked |= {name: getattr(slurm, name) for name in same_name}
    asked |= {"mail-type": slurm.mail_type, "mail-user": slurm.mail_user, "exclusive": slurm.exclusive or None}
    for option in slurm.extra_sbatch:
        name, equals, value = option.removeprefix("--").partition("=")
        asked[name] = value if equals else True
    return {name: value for name, value in asked.items() if value is not None}


def quoted(path: Path) -> str:
    """A path as a word of shell."""
    return shlex.quote(str(path))


def element_of(sweep: Path) -> str:
    """The run directory of an element of an array: 000, 001, ... in the sweep's."""
    return f'{quoted(sweep)}/$(printf %03d "$SLURM_ARRAY_TASK_ID")'


def script(asked: Mapping[str, str | int | bool], body: str) -> str:
    """A whole batch script."""
    lines = [f"#SBATCH --{name}" if value is True else f"#SBATCH --{name}={shlex.quote(str(value))}" for name, value in asked.items()]
    return "\n".join(["#!/bin/bash", *lines, "", body])


def body(config: RunConfig, backend: str, code: Path, run: str) -> str:
    """What the job does: setup, environment, and the training processes under `launch.attempt`.

    Args:
        code: the snapshot to run.
        run: the run directory, as a word of shell.
    """
    slurm = config.slurm
    python = slurm.python or sys.executable
    exports = {"PYTHONUNBUFFERED": "", **slurm.environment}  # lines in one write each: srun puts the rank before every write
    return "\n".join(
        [
            *slurm.setup,
            *(f"export {name}={shlex.quote(value)}" for name, value in exports.items()),
            f"export PYTHONPATH={quoted(code)}${{PYTHONPATH:+:$PYTHONPATH}}",
            f"cd {quoted(code)}",  # python -m looks here first: not into the checkout that the job was submitted from
            f"RUN={run}",
            *(_rendezvous() if backend == "torchrun" else []),
            f"exec {shlex.quote(python)} -m launch.attempt {RUN} -- \\",
            f"  {shlex.join(['srun', *_step_options(config, backend)])} \\",
            f"  {_training(config, backend, python)}",
            "",
        ]
    )


def _step_options(config: RunConfig, backend: str) -> list[str]:
    slurm = config.slurm
    options = ["--kill-on-bad-exit=1", "--unbuffered", "--label"]
    if slurm.cpus_per_rank:  # not inherited from sbatch since Slurm 22.05
        options.append(f"--cpus-per-task={slurm.cpus_per_rank * (1 if backend == 'submitit' else slurm.ranks)}")
    if slurm.container_image:
        options.append(f"--container-image={slurm.container_image}")
    if slurm.container_mounts:
        options.append(f"--container-mounts={slurm.container_mounts}")
    return [*options, *slurm.extra_srun]


def _rendezvous() -> list[str]:
    """Where torchrun's agents meet: the first node, at a port that is the job's own."""
    return [
        'HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
        "PORT=$((20000 + SLURM_JOB_ID % 10000))",
        "ATTEMPT=$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}",
        # workers that are started again must not find the addresses of those before them; see biggan_scale/dist/process_group.py
        "export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1",
        # how long SIGTERM may take: the torch versions that know the variable read it, the others wait 30 s
        "export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-300}",
    ]


def _training(config: RunConfig, backend: str, python: str) -> str:
    train = f"-m biggan_scale.cli train {RUN}/launch/config.yaml"
    if backend == "submitit":
        return f"{shlex.quote(python)} {train}"
    slurm = config.slurm
    agent = (
        f"-m torch.distributed.run --nnodes={slurm.nodes} --nproc-per-node={slurm.ranks} --max-restarts={slurm.worker_restarts} "
        '--rdzv-backend=c10d --rdzv-endpoint="$HEAD:$PORT" --rdzv-id="$ATTEMPT"'
    )
    return f'bash -c \'trap "" USR2; exec "$@"\' agent {shlex.quote(python)} {agent} {train}'
