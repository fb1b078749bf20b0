"""What a real Slurm says to what we ask of it, and what we say before it has to."""

from __future__ import annotations

import sys

import pytest

from tests.cluster.conftest import ROOT, SMALL, Cluster, start


@pytest.mark.parametrize("backend", ["submitit", "torchrun"])
def test_slurm_takes_the_script_of_a_dry_run(cluster: Cluster, backend: str) -> None:
    where = (f"run_dir={cluster.folder / f'dry-{backend}'}", "--shared-paths", str(cluster.folder))
    asked = ("--nodes", "2", "--partition", "high", "--time", "2:00:00", "--constraint", "local", "--exclusive", "--mail-type", "END")
    script = cluster.launch("submit", *SMALL, *where, *asked, "--backend", backend, "--dry-run").stdout
    told = cluster.run("sbatch", "--test-only", input=script).stderr
    assert "to start at" in told, told


def test_unknown_partition_is_told_with_the_nearest(cluster: Cluster) -> None:
    where = (f"run_dir={cluster.folder / 'nowhere'}", "--shared-paths", str(cluster.folder))
    refused = cluster.launch("submit", *SMALL, *where, "--partition", "hihg", check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "no partition 'hihg'; did you mean 'high'?" in refused.stderr


@pytest.mark.parametrize("backend", ["submitit", "torchrun"])
def test_what_slurm_refuses_is_told_in_one_line(cluster: Cluster, backend: str) -> None:
    where = (f"run_dir={cluster.folder / 'featureless'}", "--shared-paths", str(cluster.folder))
    refused = cluster.launch("submit", *SMALL, *where, "--constraint", "quantum", "--backend", backend, check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (5, 1), refused.stderr
    assert "sbatch" in refused.stderr and "Invalid feature specification" in refused.stderr


def test_a_run_has_one_job_at_a_time(cluster: Cluster) -> None:
    submitted = cluster.submit("twice", "--dependency", "afterok:1", "--extra-sbatch=--hold")
    again = cluster.launch("submit", *SMALL, f"run_dir={submitted.run_dir}", "--shared-paths", str(cluster.folder), check=False)
    assert again.returncode == 2
    assert f"job {submitted.job} of this run is pending" in again.stderr
    stopped = cluster.launch("stop", submitted.run_dir).stdout
    assert "was pending, taken out of the queue" in stopped
    submitted.wait_ended("CANCELLED")


def test_doctor_finds_nothing_wrong_with_a_good_cluster(cluster: Cluster) -> None:
    where = (f"run_dir={cluster.folder / 'doctor'}", "--shared-paths", str(cluster.folder))
    told = cluster.launch("doctor", *SMALL, *where, "--nodes", "2").stdout
    assert "2 of 2 nodes answered" in told
    for node in ("n1", "n2"):
        assert f"{node}: shares the folder, resolves, connects, hears signals" in told


@pytest.mark.slow  # needs a cluster of its own, whose nodes have a /tmp each
def test_doctor_names_a_folder_that_nodes_do_not_share(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("private")
    shared = f"{ROOT}:{sys.prefix}:{folder / 'shared'}"
    (folder / "shared").mkdir()
    for cluster in start(folder, "--private-tmp", SLURM_LOCAL_SHARE=shared):
        where = (f"run_dir={folder / 'apart'}", "--shared-paths", str(folder))
        told = cluster.launch("doctor", *SMALL, *where, "--nodes", "2", check=False)
        assert told.returncode == 5
        assert f"n1: does not see {folder / 'apart'}: choose a folder that all nodes share" in told.stdout
        where = (f"run_dir={folder / 'shared' / 'run'}", "--shared-paths", str(folder))
        assert cluster.launch("doctor", *SMALL, *where, "--nodes", "2").returncode == 0
