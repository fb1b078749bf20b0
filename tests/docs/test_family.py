"""docs/family.md names what there is: no game without a row, and no row with a game, network or page that is not there."""

from __future__ import annotations

import re
from pathlib import Path

from biggan_scale.config import pages
from biggan_scale.config.component import Reference

ROOT = Path(__file__).resolve().parents[2]
ROWS = [line.split("|")[1:-1] for line in (ROOT / "docs" / "family.md").read_text().splitlines() if line.startswith("|")][2:]


def names(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def test_every_game_has_a_row() -> None:
    assert {name for _, game, _, _ in ROWS for name in names(game)[:1]} == set(Reference("games", "").choices())


def test_networks_and_pages_exist() -> None:
    networks = set(Reference("networks", "Generator").choices()) | {"attention"}
    assert {name for _, _, network, _ in ROWS for name in names(network)} <= networks
    assert {name for *_, page in ROWS for name in names(page)} <= set(pages.names())
