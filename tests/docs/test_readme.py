"""What the pages of documentation tell a reader to open or to type is there."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from biggan_scale import cli
from biggan_scale.config import load_config
from data_tools import cli as data_cli
from launch import cli as launch_cli
from launch import options

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(program: str) -> list[list[str]]:
    """The arguments of every line in the README's bash blocks that calls a program, alone or by srun or torchrun."""
    blocks = re.findall(r"^```bash\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("-m biggan_scale.cli", "biggan-scale").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[line.index(program) + 1 :] for line in words if program in line]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)`", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= {plain or quoted for plain, quoted in named} <= targets


def test_train_commands_of_the_readme_have_valid_configurations() -> None:
    trainings = [line for line in commands("biggan-scale") if line[0] == "train"]
    assert len(trainings) >= 4
    for _, page, *overrides in trainings:
        load_config("tiny" if page == "my_page.yaml" else page, overrides)


def test_launch_commands_of_the_readme_parse() -> None:
    lines = commands("biggan-launch")
    assert lines
    for name, *arguments in lines:
        rest, settings = options.split(arguments)
        parser = argparse.ArgumentParser(exit_on_error=False)
        launch_cli.VERBS[name].add_arguments(parser)
        parser.parse_intermixed_args(rest)
        load_config("tiny", settings)


@pytest.mark.parametrize(
    ("program", "known"), [("biggan-scale", cli.COMMANDS), ("biggan-data", data_cli.VERBS)], ids=["biggan-scale", "biggan-data"]
)
def test_commands_of_the_readme_parse(program: str, known: dict) -> None:
    lines = commands(program)
    assert lines
    for name, *arguments in lines:
        parser = argparse.ArgumentParser(exit_on_error=False)
        known[name].add_arguments(parser)
        parser.parse_intermixed_args(arguments)
