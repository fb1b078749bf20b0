"""A cluster for all tests of a process, and a run on it that nothing happens to."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.cluster.local_slurm import Cluster, Run, start

BACKENDS = ("submitit", "torchrun")


@pytest.fixture(scope="session")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes; a preempted job gets its --signal, and SIGTERM."""
    yield from start(tmp_path_factory.mktemp("cluster"))


@pytest.fixture
def cluster(own_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster; and after the test, nothing may be left on its nodes."""
    yield own_cluster
    own_cluster.clear()


@pytest.fixture(scope="session")
def silent_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster where a preempted job gets SIGTERM alone."""
    yield from start(tmp_path_factory.mktemp("silent"), SLURM_LOCAL_USERSIG="0")


@dataclass
class Walk:
    """A run that nothing happens to, and who follows it from the queue to its end."""

    run: Run
    follower: subprocess.Popen[str]


@pytest.fixture(scope="session")
def walk(own_cluster: Cluster) -> Iterator[Walk]:
    run = own_cluster.submit("undisturbed")
    follower = own_cluster.launch_in_background("logs", "-f", run.run_dir)
    run.wait_ended("COMPLETED")
    yield Walk(run, follower)
    follower.kill()
    follower.communicate()


@pytest.fixture(scope="session")
def undisturbed(walk: Walk) -> str:
    """The digest of the final state of a run that nothing happens to."""
    return walk.run.final_sha256()
