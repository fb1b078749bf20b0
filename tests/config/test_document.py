"""docs/config.md is what the dataclasses say."""

from __future__ import annotations

from biggan_scale.config import document
from biggan_scale.config.component import Reference
from biggan_scale.config.document import PAGE, field_docs, text


def test_page_is_current() -> None:
    assert PAGE.read_text() == text(), "run: python -m biggan_scale.config.document"


def test_every_setting_is_explained() -> None:
    undocumented = [line for line in text().splitlines() if line.startswith("| `") and line.endswith("|  |")]
    assert not undocumented


def test_comment_at_the_end_of_a_fields_line_is_its_documentation() -> None:
    assert field_docs(Reference("latent", "").config_class("normal"))["dim"] == "length of z"


def test_every_component_has_its_settings_on_the_page() -> None:
    page = text()
    for package in ("games", "latent"):
        section = page.split(f"## {package}\n")[1].split("\n## ")[0]
        for choice in Reference(package, "").choices():
            assert f"### `type: {choice}`" in section
    assert document.HEAD in page
