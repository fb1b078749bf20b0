"""What is installed is what is here, it says what it needs, and it runs away from the checkout."""

from __future__ import annotations

import ast
import configparser
import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE_FOLDERS = ("biggan_scale", "data_tools", "launch")
IMPORT_NAMES = {"pyyaml": "yaml", "pillow": "PIL", "tensorboard": "torch.utils.tensorboard"}  # where it is not the distribution's


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line]


def requirements(text: str) -> set[str]:
    """The import names of a list of requirements."""
    names = [re.split(r"[<>=~!\[; ]", line)[0].lower() for line in lines(text)]
    return {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in names}


def imported_modules() -> set[str]:
    """Full names of all modules imported by our packages."""
    found = set()
    for path in (path for folder in PACKAGE_FOLDERS for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found |= {node.module}
    return found


def test_every_package_of_the_checkout_is_installed() -> None:
    folders = {path.parent for folder in PACKAGE_FOLDERS for path in (ROOT / folder).rglob("*.py")}
    packages = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(lines(setup_cfg()["options"]["packages"])) == packages | {"biggan_scale.pages"}
    assert all((folder / "__init__.py").exists() for folder in folders)


def test_every_import_is_declared() -> None:
    declared = requirements(setup_cfg()["options"]["install_requires"])
    for extra, text in setup_cfg()["options.extras_require"].items():
        declared |= requirements(text) if extra != "dev" else set()
    tops = {name.split(".")[0] for name in imported_modules()}
    assert tops <= declared | sys.stdlib_module_names | set(PACKAGE_FOLDERS), "imported, and in neither install_requires nor an extra"


def test_every_requirement_is_imported() -> None:
    imported = imported_modules()
    required = requirements(setup_cfg()["options"]["install_requires"])
    assert {name for name in required if not any(module == name or module.startswith(f"{name}.") for module in imported)} == set()


def test_every_requirement_has_its_reason_in_the_docs() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text()
    everything = [setup_cfg()["options"]["install_requires"], *setup_cfg()["options.extras_require"].values()]
    missing = {line for block in everything for line in lines(block) if f"`{line}`" not in text}
    assert not missing, "docs/dependencies.md does not name them with this range"


# A wheel in an environment of its own. The environment starts empty; only what the wheel depends on is lent to it by a path file
# that names this interpreter's site-packages, so that gigabytes are not downloaded again. A path file is read, but path files in
# the directory it names are not, so an editable install of this checkout stays invisible.


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of a fresh environment with the wheel, built from the source distribution, installed."""
    place = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "build", "--no-isolation", "--outdir", place, ROOT], check=True, capture_output=True, text=True)
    (wheel,) = place.glob("*.whl")
    venv.create(place / "env", with_pip=True)
    subprocess.run([place / "env/bin/pip", "install", "--quiet", "--no-index", "--no-deps", wheel], check=True)
    (site_packages,) = place.glob("env/lib/python*/site-packages")
    (site_packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "env/bin"


def run(command: Path, *args: str, cwd: Path, timeout_s: int = 120) -> str:
    """The command's stdout and stderr; fails the test with them unless it exits with 0."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [command, *args], cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, f"{command.name} {' '.join(args)} exited with {done.returncode}:\n{done.stdout}"
    return done.stdout


@pytest.mark.slow  # builds a wheel and makes an environment
def test_wheel_runs_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    where = run(installed / "python", "-c", "import biggan_scale, data_tools, launch; print(biggan_scale.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)
    assert "train" in run(installed / "biggan-scale", "--help", cwd=tmp_path)
    assert "pack" in run(installed / "biggan-data", "--help", cwd=tmp_path)
    run(installed / "biggan-scale", "train", "tiny", "--dry-run", cwd=tmp_path)


@pytest.mark.slow  # the same, and trains for some rounds
def test_wheel_trains_samples_and_exports_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    command = installed / "biggan-scale"
    run(command, "train", "tiny", "run_dir=runs/wheel", "until=2 rounds", cwd=tmp_path, timeout_s=300)
    run(command, "sample", "runs/wheel", "--num", "4", "--out", "grid.png", cwd=tmp_path)
    run(command, "export", "runs/wheel", "--out", "exported", cwd=tmp_path)
    shape = run(
        installed / "python", "-c", "import biggan_scale; print(*biggan_scale.load('exported').sample(num=2, seed=0).shape)", cwd=tmp_path
    )
    assert shape.split() == ["2", "3", "32", "32"]
    assert (tmp_path / "grid.png").stat().st_size > 0
