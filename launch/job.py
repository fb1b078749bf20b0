"""From a page and flags to a job that Slurm would take: everything that can be found wrong is found here, on the login node.

A job is written to RUN/launch (config, code, script) before it is queued; `launch/record.py` has the names.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from biggan_scale.cli import train
from biggan_scale.config import Loaded, RunConfig, load_config, micro_batches
from biggan_scale.config.errors import ConfigError, EnvironmentFault
from launch import record, render, slurm, snapshot
from launch.shared_disk import refuse_local


@dataclass(frozen=True)
class Job:
    """A run to submit. Its run directory is absolute, since the job starts elsewhere."""

    loaded: Loaded
    backend: str

    @property
    def config(self) -> RunConfig:
        return self.loaded.config

    @property
    def run_dir(self) -> Path:
        return Path(self.config.run_dir)

    @property
    def logs(self) -> Path:
        return self.run_dir / "logs"

    def summary(self) -> str:
        """What people are told of the job before it is queued."""
        asked = self.config.slurm
        nodes = f"{asked.nodes} node{'s' * (asked.nodes > 1)} with {asked.ranks} process{'es' * (asked.ranks > 1)} each"
        limit = f", {asked.time} an attempt" if asked.time else ""
        return f"{train.summary(self.loaded, asked.world)}\non {nodes}, by {self.backend}{limit}"


def plan(page: str, overrides: Sequence[str], backend: str) -> Job:
    """The job for a page, checked for the ranks it asks for.

    Raises:
        ConfigError: with all that is wrong.
    """
    loaded = load_config(page, overrides)
    config, shared = loaded.config, loaded.config.slurm.shared_paths
    micro_batches(config, config.slurm.world)
    refuse_local(Path(config.run_dir), shared)
    absolute = [f"run_dir={Path(config.run_dir).absolute()}"]
    if _is_folder(config.data.path):
        _refuse_missing_data(loaded)
        refuse_local(Path(config.data.path), shared, "data.path")
        absolute.append(f"data.path={Path(config.data.path).absolute()}")
    slurm.refuse_unknown_partition(config.slurm.partition)
    slurm.refuse_container_without_plugin(config.slurm.container_image)
    return Job(load_config(page, [*overrides, *absolute]), backend)


def _is_folder(data: str) -> bool:
    """Whether data.path is a folder of shards: no URL, and neither packaged:NAME nor stream:URL."""
    return not re.match(r"[a-z0-9+]+:", data)


def _refuse_missing_data(loaded: Loaded) -> None:
    path = loaded.config.data.path
    if not Path(path).is_dir():
        where = loaded.origins["data.path"]
        raise ConfigError(f"{where}: data.path {path} is not a folder; biggan-data pack --source IMAGES --out {path} makes one")


def script(job: Job, code: Path) -> str:
    """The batch script of a single run."""
    return render.script(
        render.directives(job.config, job.backend, job.logs), render.body(job.config, job.backend, code, render.quoted(job.run_dir))
    )


def write(job: Job) -> snapshot.Snapshot:
    """Put into the run directory what the job will run: configuration, code, script."""
    taken = write_code(job.run_dir)
    write_config(job)
    (record.folder(job.run_dir) / "job.sh").write_text(script(job, taken.path))
    return taken


def write_code(folder: Path) -> snapshot.Snapshot:
    """Make the directory of a run, or of a sweep, with the code in it."""
    try:
        for path in (record.folder(folder), folder / "logs"):
            path.mkdir(parents=True, exist_ok=True)
        return snapshot.take(record.folder(folder))
    except OSError as error:
        raise EnvironmentFault(f"run_dir {folder} cannot be written: {error.strerror}; choose another run_dir=...") from error


def write_config(job: Job) -> None:
    record.folder(job.run_dir).mkdir(parents=True, exist_ok=True)
    (record.folder(job.run_dir) / "config.yaml").write_text(job.loaded.to_yaml(origins=True))


def refuse_second(run_dir: Path) -> None:
    """Two jobs for one run would only wait for each other's lock."""
    for known in slurm.jobs(record.job_ids(run_dir)[-1:]):
        if not known.ended:
            raise ConfigError(f"{run_dir}: job {known.id} of this run is {known.state.lower()}; biggan-launch cancel {run_dir} ends it")


def record_submission(job: Job, id: str, taken: snapshot.Snapshot) -> None:
    """Keep what was submitted, by whom and from where."""
    record.append(
        job.run_dir,
        "submitted",
        job=id,
        backend=job.backend,
        nodes=job.config.slurm.nodes,
        ranks=job.config.slurm.world,
        argv=sys.argv[1:],
        cwd=str(Path.cwd()),
        code=str(taken.path),
        code_sha256=taken.sha256,
        commit=taken.commit,
        python=job.config.slurm.python or sys.executable,
        user=os.environ.get("USER", ""),
        environment=environment(),
    )


def environment() -> dict[str, str]:
    """Of the submitter's environment, what has a say in training, for the record."""
    prefixes = ("CUDA", "NCCL", "OMP_", "TORCH", "SLURM", "SBATCH", "BIGGAN", "CONDA", "VIRTUAL_ENV", "PYTHON", "LD_LIBRARY_PATH")
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(prefixes)}
