"""Which folders nodes share, and which code a job runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from biggan_scale.config.errors import ConfigError
from launch import snapshot
from launch.shared_disk import file_system, refuse_local

MOUNTS = """/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
tmpfs /home/me/ram\\040disk tmpfs rw 0 0
"""


@pytest.mark.parametrize(("path", "kind"), [("/home/me/run", "nfs4"), ("/home/me/ram disk/run", "tmpfs"), ("/opt/run", "ext4")])
def test_file_system_is_that_of_the_nearest_mount(path: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    assert file_system(Path(path), tmp_path / "mounts") == kind


def test_link_into_a_local_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").symlink_to("/dev/shm")
    with pytest.raises(ConfigError, match="is in /dev/shm"):
        refuse_local(tmp_path / "runs" / "mine", [str(tmp_path)])


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A little project, not yet under git."""
    root = tmp_path / "project"
    for name, text in (("launch/a.py", "1"), ("configs/b.yaml", "2"), ("launch/__pycache__/a.pyc", "3"), ("runs/c.py", "4")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(snapshot, "ROOT", root)
    return root


def names(code: Path) -> list[str]:
    return sorted(path.relative_to(code).as_posix() for path in code.rglob("*") if path.is_file())


def test_installed_package_is_copied_without_caches(checkout: Path, tmp_path: Path) -> None:
    taken = snapshot.take(tmp_path / "copies")
    assert names(taken.path) == ["configs/b.yaml", "launch/a.py"]
    assert taken.commit == ""


def test_checkout_is_copied_as_git_would_add_it(checkout: Path, tmp_path: Path) -> None:
    git = ["git", "-C", str(checkout), "-c", "user.name=a", "-c", "user.email=a@b"]
    (checkout / ".gitignore").write_text("__pycache__\nlaunch/ignored.py\n")
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "launch/a.py", "configs"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "a"], check=True)
    assert not snapshot.take(tmp_path / "clean").commit.endswith("+")
    (checkout / "launch" / "new.py").write_text("5")
    (checkout / "launch" / "ignored.py").write_text("6")
    taken = snapshot.take(tmp_path / "dirty")
    assert names(taken.path) == ["configs/b.yaml", "launch/a.py", "launch/new.py"]
    assert taken.commit.endswith("+")


def test_same_code_is_one_copy_and_other_code_another(checkout: Path, tmp_path: Path) -> None:
    first, again = snapshot.take(tmp_path / "copies"), snapshot.take(tmp_path / "copies")
    (checkout / "launch" / "a.py").write_text("changed")
    other = snapshot.take(tmp_path / "copies")
    assert first == again and other.path != first.path
    assert (first.path / "launch" / "a.py").read_text() == "1"
