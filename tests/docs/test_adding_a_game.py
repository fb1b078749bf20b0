"""docs/adding_a_game.md, followed to the letter in a copy of the project."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("biggan_scale", "configs", "tests/conformance", "tests/support", "setup.cfg")


def files_of_the_walkthrough() -> dict[str, str]:
    """What stands under each heading that names a file."""
    text = (ROOT / "docs/adding_a_game.md").read_text()
    return dict(re.findall(r"^## The \w+: `(.+?)`\n\n```\w+\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the walkthrough's files in it."""
    copy = tmp_path_factory.mktemp("project")
    for name in COPIED:
        (copy / name).parent.mkdir(exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    files = files_of_the_walkthrough()
    assert len(files) == 2
    for name, content in files.items():
        assert not (copy / name).exists(), "the walkthrough adds files, it does not edit"
        (copy / name).write_text(content)
    return copy


def run_in(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(project)}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=project, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def test_the_new_game_trains(project: Path) -> None:
    done = run_in(project, "biggan_scale.cli", "train", "wgan_gp_tiny", "until=2 rounds")
    assert done.returncode == 0, done.stdout
    records = [json.loads(line) for line in (project / "runs/wgan_gp_tiny/metrics.jsonl").read_text().splitlines()]
    assert len(records) == 2
    assert {"D/distance", "D/penalty", "D/gradient_norm", "G/adversarial"} <= records[-1].keys()


@pytest.mark.slow  # the whole suite for one more page
def test_the_new_game_conforms(project: Path) -> None:
    done = run_in(project, "pytest", "-q", "-p", "no:cacheprovider", "tests/conformance", "-k", "wgan_gp_tiny or every_game")
    assert done.returncode == 0, done.stdout


def test_the_new_file_is_clean(project: Path) -> None:
    checks = (["ruff", "check"], ["ruff", "format", "--check"])
    for check in checks:
        done = run_in(project, *check, "--config", str(ROOT / "ruff.toml"), "biggan_scale/games/wgan_gp.py")
        assert done.returncode == 0, done.stdout
