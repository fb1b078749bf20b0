"""What a cluster's configuration means for a run: the findings of `biggan-launch doctor` that need no node.

Each is (kind, words): GOOD, a NOTE to know of, or BAD, which a run would fail of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from biggan_scale.config.errors import EnvironmentFault
from launch import slurm

GOOD, BAD, NOTE = "ok", "WRONG", "note"
Finding = tuple[str, str]


def findings(partition: str | None) -> Iterator[Finding]:
    """Of the controller and the partition; null: the default one."""
    try:
        facts = config_facts(slurm.command("scontrol", "show", "config"))
        partitions = slurm.command("scontrol", "show", "partition", "-o")
    except EnvironmentFault as error:
        yield BAD, str(error)
        return
    yield GOOD, f"Slurm {facts.get('SLURM_VERSION', '?')}, cluster {facts.get('ClusterName', '?')}"
    user_signal = "preempt_send_user_signal" in facts.get("SlurmctldParameters", "")
    yield GOOD, f"preemption sends {'SIGUSR2 and ' * user_signal}SIGTERM; a run saves at either"
    for line in partitions.splitlines():
        theirs = slurm.job_facts(line)
        wanted = theirs.get("PartitionName") in (partition or "").split(",") if partition else theirs.get("Default") == "YES"
        if wanted:
            yield from preemption(theirs.get("PartitionName", "?"), theirs.get("PreemptMode", "?"), theirs.get("GraceTime", "0"))
    yield GOOD, f"KillWait {facts.get('KillWait', '?')}: the time to save after scancel and scontrol requeue"
    try:
        slurm.command("sacct", "-n", "-X", "-P", "-o", "JobID,State,NodeList", "-j", "1")
    except EnvironmentFault:
        yield NOTE, "sacct does not answer: status knows of ended jobs only as long as Slurm remembers them"


def preemption(partition: str, mode: str, grace_s: str) -> Iterator[Finding]:
    """What happens to a job of a partition that has to go."""
    if "OFF" in mode:
        yield GOOD, f"partition {partition}: its jobs are not preempted"
        return
    if "CANCEL" in mode:
        yield (
            NOTE,
            f"partition {partition}: PreemptMode={mode}; a job that has not saved within GraceTime is ended for good",
        )
    elif "SUSPEND" in mode:
        yield NOTE, f"partition {partition}: PreemptMode={mode}; a job stands still on its nodes, and goes on there"
    else:
        yield GOOD, f"partition {partition}: PreemptMode={mode}; a preempted job is requeued"
    if grace_s == "0":
        yield NOTE, f"partition {partition}: GraceTime=0; a preempted run has KillWait to save"
    else:
        yield GOOD, f"partition {partition}: GraceTime {grace_s} s, in which a preempted run saves"


def requeueing(asked: Sequence[str]) -> Iterator[Finding]:
    """Whether a job of ours would be requeued: what becomes of one that is queued, held, and taken out again.

    Args:
        asked: the options of sbatch that the run would be submitted with.
    """
    try:
        job = slurm.command("sbatch", "--parsable", "--hold", "--output=/dev/null", *asked, "--wrap=true").strip().split(";")[0]
    except EnvironmentFault as error:
        yield BAD, str(error)
        return
    try:
        permitted = slurm.job_facts(slurm.command("scontrol", "show", "job", "-o", job)).get("Requeue") == "1"
    finally:
        slurm.command("scancel", job)
    if permitted:
        yield GOOD, "jobs may be requeued: a stopped run goes on in its job"
    else:
        yield NOTE, "this site does not let jobs be requeued: a stopped run goes on in a further job, which it queues itself"


def config_facts(text: str) -> dict[str, str]:
    """`scontrol show config` -> its `Key = Value` lines."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}
