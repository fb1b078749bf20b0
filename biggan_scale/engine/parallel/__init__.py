"""How ranks share the work of a game: one file a strategy, `ddp.py` the seam that they have in common."""

from __future__ import annotations

from biggan_scale.dist import process_group
from biggan_scale.engine.parallel.ddp import Ddp
from biggan_scale.engine.parallel.zero import Zero
from biggan_scale.games.base import Game


def strategy(name: str, game: Game) -> Ddp:
    """What the config calls `parallel`. A rank alone has nobody to share with."""
    return Zero(game) if name == "zero" and process_group.world() > 1 else Ddp(game)
