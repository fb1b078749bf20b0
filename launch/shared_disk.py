"""Refuses a run directory that the nodes of a job would each have their own of.

A run directory in /tmp looks right from the login node and holds nothing after the job. What a path is mounted on tells most of the
time; `slurm.shared_paths` overrules it, and `biggan-launch doctor` asks the nodes themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from biggan_scale.config.errors import ConfigError

LOCAL_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/scratch/local", "/local", "/localscratch")
MEMORY_FILE_SYSTEMS = ("tmpfs", "ramfs", "devtmpfs")


def refuse_local(path: Path, shared_paths: Sequence[str], what: str = "run_dir") -> None:
    """Raises:
    ConfigError: the path is on a disk of this machine only, as far as can be told from here.
    """
    real = path.resolve()
    if any(real.is_relative_to(Path(shared).resolve()) for shared in shared_paths):
        return
    local = next((folder for folder in LOCAL_FOLDERS if real.is_relative_to(folder)), "")
    if not local and (mounted := file_system(real)) in MEMORY_FILE_SYSTEMS:
        local = f"a {mounted}"
    if local:
        raise ConfigError(
            f"{what} {path} is in {local}, which each node has its own of; choose a folder that all nodes share, or if they do "
            f"share this one, say slurm.shared_paths=[{real.parent}]"
        )


def file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The type of the file system a path is on: nfs4, lustre, ext4, tmpfs."""
    kinds = {}
    for line in mounts.read_text().splitlines():
        _, point, kind, *_ = line.split(" ")
        kinds[point.replace("\\040", " ")] = kind
    return next((kinds[str(folder)] for folder in (path, *path.parents) if str(folder) in kinds), "")
