"""Finding pages by path and by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from biggan_scale.config import ConfigError, pages


def test_page_is_found_by_name_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert pages.find("tiny") == pages.find("tiny.yaml") == pages.FOLDER / "tiny.yaml"
    assert pages.find("base/run") == pages.FOLDER / "base" / "run.yaml"


def test_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text("")
    assert pages.find("tiny") == tmp_path / "tiny.yaml"


def test_folder_is_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    assert pages.find("tiny") == pages.FOLDER / "tiny.yaml"


def test_unknown_page_suggests_the_nearest_or_lists_all() -> None:
    with pytest.raises(ConfigError, match="no file and no page 'tinny'; did you mean 'tiny'\\?"):
        pages.find("tinny")
    with pytest.raises(ConfigError, match="no file and no page 'zzz'; pages: base/bigbigan, base/biggan, "):
        pages.find("zzz")
