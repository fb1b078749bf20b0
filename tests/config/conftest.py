"""A page in a folder of its own, and what loading it complains about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from biggan_scale.config import ConfigError, load_config

PAGE = """\
run_dir: runs/a
until: 10 rounds
batch_size: 8
game:
  type: gan
  prior: {type: normal, dim: 16}
  generator: {type: biggan, channels: 4}
  discriminator: {type: biggan, channels: 4}
data: {path: shards, resolution: 32}
optim:
  D: {lr: 2e-4, betas: [0, 0.999], eps: 1e-8}
  G: {lr: 1e-4, betas: [0, 0.999], eps: 1e-8}
"""


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """page.yaml, a correct page, in the current directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "page.yaml"
    path.write_text(PAGE)
    return path


@pytest.fixture
def complaints(page: Path) -> Callable[..., list[str]]:
    """The problems of page.yaml after replacing texts in it, and with overrides, one a line."""

    def of(*overrides: str, **replaced: str) -> list[str]:
        text = PAGE
        for old, new in zip(replaced["old"].split("|"), replaced["new"].split("|"), strict=True) if replaced else ():
            assert old in text
            text = text.replace(old, new, 1)
        page.write_text(text)
        with pytest.raises(ConfigError) as caught:
            load_config("page.yaml", overrides)
        return str(caught.value).splitlines()

    return of
