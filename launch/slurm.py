"""Slurm's commands, as functions: ask the queue, submit, signal, cancel, requeue.

What a job is doing is asked of `squeue`, then `scontrol`, then `sacct` where it answers: many sites have no accounting, and
`squeue` forgets a job minutes after its end.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from biggan_scale.config.errors import ConfigError, EnvironmentFault, did_you_mean

TIMEOUT_S = 60
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY", "UNKNOWN")


@dataclass(frozen=True)
class Job:
    """What Slurm says of a job. state: PENDING, RUNNING, COMPLETED, ..., or UNKNOWN if it remembers nothing."""

    id: str
    state: str
    reason: str = ""
    nodes: str = ""
    elapsed: str = ""
    limit: str = ""

    @property
    def ended(self) -> bool:
        return self.state in ENDED


def command(*arguments: str | Path) -> str:
    """What a command of Slurm's prints.

    Raises:
        EnvironmentFault: it is not here, does not answer, or refuses.
    """
    words = [str(argument) for argument in arguments]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S)
    except FileNotFoundError:
        raise EnvironmentFault(f"{words[0]} is not here; run this where Slurm's commands are, like a login node") from None
    except subprocess.TimeoutExpired:
        raise EnvironmentFault(f"{words[0]} does not answer within {TIMEOUT_S} s; is Slurm's controller up? (scontrol ping)") from None
    if done.returncode:
        told = [line.split("error: ")[-1] for line in done.stderr.splitlines() if line.strip()]
        raise EnvironmentFault(f"{' '.join(words[:2])}: {told[-1] if told else f'exit code {done.returncode}'}")
    return done.stdout


def submit(script: Path, *options: str) -> str:
    """Queue a script and return the job's id."""
    with outside_of_jobs():
        return command("sbatch", "--parsable", *options, script).strip().split(";")[0]


@contextmanager
def outside_of_jobs() -> Iterator[None]:
    """What is queued or started herein inherits nothing of a job that this process may be in: its tasks, its cores, its step."""
    inside = {name: value for name, value in os.environ.items() if name.startswith("SLURM_") and name != "SLURM_CONF"}
    for name in inside:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(inside)


def jobs(ids: Sequence[str]) -> list[Job]:
    """What is known of jobs, in their order; of an array, of each of its elements that Slurm remembers."""
    return [job for id in ids for job in _job(id)]


def partitions() -> list[str]:
    """The names of the partitions; empty if Slurm does not say."""
    try:
        return sorted({name.rstrip("*") for name in command("sinfo", "-h", "-o", "%R").split()})
    except EnvironmentFault:
        return []


def refuse_unknown_partition(name: str | None) -> None:
    """Slurm's own answer is 'invalid partition specified', which helps nobody. `a,b` names two."""
    known = partitions()
    for part in (name or "").split(","):
        if part and known and part not in known:
            raise ConfigError(f"slurm.partition: this cluster has no partition '{part}'; {did_you_mean(part, known, 'it has')}")


def refuse_container_without_plugin(image: str | None) -> None:
    """--container-image is known to srun where the site has installed pyxis; elsewhere every attempt would end at once."""
    if image is None:
        return
    try:
        options = command("srun", "--help")
    except EnvironmentFault:
        return
    if "--container-image" not in options:
        raise ConfigError(
            "slurm.container_image: this cluster's srun has no --container-image, which pyxis adds; an OCI bundle goes by "
            "--extra-srun=--container=BUNDLE"
        )


def _job(id: str) -> list[Job]:
    for ask in (_from_squeue, _from_scontrol, _from_sacct):
        try:
            found = ask(id)
        except EnvironmentFault:
            found = []
        if found:
            return found
    return [Job(id, "UNKNOWN")]


def _from_squeue(id: str) -> list[Job]:
    lines = command("squeue", "-h", "-r", "-t", "all", "-j", id, "-o", "%i|%T|%r|%N|%M|%l").splitlines()
    rows = [[_plain(word) for word in line.split("|")] for line in lines]
    return [Job(id, state, reason, nodes, elapsed, limit) for id, state, reason, nodes, elapsed, limit in rows]


def _from_scontrol(id: str) -> list[Job]:
    found = []
    for line in command("scontrol", "show", "job", "-o", id).splitlines():
        facts = job_facts(line)
        if "JobState" in facts:
            name = f"{facts['ArrayJobId']}_{facts['ArrayTaskId']}" if "ArrayTaskId" in facts else facts["JobId"]
            reason, nodes, elapsed, limit = (_plain(facts.get(key, "")) for key in ("Reason", "NodeList", "RunTime", "TimeLimit"))
            found.append(Job(name, facts["JobState"], reason, nodes, elapsed, limit))
    return found


def _from_sacct(id: str) -> list[Job]:
    lines = command("sacct", "-n", "-X", "-P", "-o", "JobID,State,NodeList", "-j", id).splitlines()
    rows = [line.split("|") for line in lines if line.count("|") >= 2]
    return [Job(row[0], row[1].split(" ")[0], nodes=_plain(row[2])) for row in rows if row[0] != "JobID"]


def job_facts(line: str) -> dict[str, str]:
    """`scontrol show job -o` -> its KEY=VALUE words."""
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


def _plain(text: str) -> str:
    return "" if text in ("(null)", "None", "N/A") else text
