"""Components by file name, read without importing them: made-up packages that would blow up on import, and the real ones."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from biggan_scale.config import ConfigError, ImageSpec, Part, build, component, config_from_tree, load_config, to_tree
from biggan_scale.config.component import Reference
from biggan_scale.config.document import field_docs

EXPLODES = """
import torch
from biggan_scale.config import Part, part
raise ImportError("a component file was imported to read its config")
"""

DRUM = """
from __future__ import annotations
from dataclasses import dataclass
from typing import Literal

SKINS = ("calf", "plastic")

@dataclass(frozen=True)
class Stick:
    length: float = 1.5

@dataclass(frozen=True)
class Config:
    stick: Stick = Stick()
    skin: str = SKINS[0]
    torch: int = 3  # a field of that name is not the module

    def __post_init__(self):
        if self.skin not in SKINS:
            raise ValueError(f"skin {self.skin} must be of {SKINS}")
"""

PLAIN = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Config:
    size: int = 1  # in feet
    weight: int = 1  # in grams
"""

FANCY = """
from dataclasses import dataclass
from biggan_scale.toys.plain import Config as Plain, Toy

@dataclass(frozen=True)
class Config(Plain):
    size: int = 3  # in metres
    bells: int = 2  # that ring
"""


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder toys/ in the place of the package's folders."""
    monkeypatch.setattr(component, "ROOT", tmp_path)
    (tmp_path / "toys").mkdir()
    yield tmp_path / "toys"
    for name in [name for name in sys.modules if name.startswith("biggan_scale.toys.")]:
        del sys.modules[name]


def test_config_is_read_without_importing_its_file(toys: Path) -> None:
    (toys / "drum.py").write_text(DRUM + EXPLODES)
    kind = Reference("toys", "").config_class("drum")
    assert dataclasses.asdict(kind()) == {"stick": {"length": 1.5}, "skin": "calf", "torch": 3}
    with pytest.raises(ValueError, match="skin steel must be of"):
        kind(skin="steel")


def test_config_may_extend_another_components(toys: Path) -> None:
    (toys / "plain.py").write_text(PLAIN + EXPLODES)
    (toys / "fancy.py").write_text(FANCY + EXPLODES)
    kind = Reference("toys", "").config_class("fancy")
    assert dataclasses.asdict(kind()) == {"size": 3, "weight": 1, "bells": 2}
    assert field_docs(kind) == {"size": "in metres", "weight": "in grams", "bells": "that ring"}


def test_config_that_needs_torch_is_refused_by_name(toys: Path) -> None:
    (toys / "heavy.py").write_text(
        "import torch\nfrom dataclasses import dataclass\n@dataclass\nclass Config:\n    kind: object = torch.float32\n"
    )
    with pytest.raises(ConfigError) as caught:
        Reference("toys", "").config_class("heavy")
    assert str(caught.value).startswith(f"{toys / 'heavy.py'}:1: a config dataclass here needs 'torch' from torch")


def test_choices_are_the_files_that_define_the_role(toys: Path) -> None:
    (toys / "a.py").write_text("class GeneratorConfig: ...\nclass DiscriminatorConfig: ...\n")
    (toys / "b.py").write_text("class GeneratorConfig: ...\n")
    (toys / "helper.py").write_text("def help(): ...\n")
    assert Reference("toys", "Generator").choices() == ["a", "b"]
    assert Reference("toys", "Discriminator").choices() == ["a"]
    assert Reference("toys", "").choices() == []


def test_built_component_gets_its_real_config_class() -> None:
    from biggan_scale.latent.normal import Config, Normal

    mirror = Reference("latent", "").config_class("normal")
    assert mirror is not Config
    prior = build(Part("latent", "", "normal", mirror(dim=7)), ImageSpec(32, 32, 3, 0))
    assert type(prior) is Normal
    assert prior.config == Config(dim=7)


def test_config_made_by_hand_builds_too() -> None:
    from biggan_scale.latent.normal import Config

    assert build(Part("latent", "", "normal", Config(dim=5)), ImageSpec(32, 32, 3, 0)).dim == 5


def test_every_component_reads_alike_with_and_without_importing(page: Path) -> None:
    """The mirror and the real class have the same fields and defaults, so a saved config means the same to both."""
    import importlib

    for reference in (
        Reference("games", ""),
        Reference("networks", "Generator"),
        Reference("networks", "Discriminator"),
        Reference("latent", ""),
    ):
        for choice in reference.choices():
            mirror = reference.config_class(choice)
            real = getattr(importlib.import_module(f"biggan_scale.{reference.package}.{choice}"), reference.config_name)
            described = [[(f.name, f.type, f.default) for f in dataclasses.fields(kind)] for kind in (mirror, real)]
            assert described[0] == described[1]
    config = load_config("page.yaml").config
    assert config_from_tree(to_tree(config), "x") == config
