"""What may change between two starts of one run."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from biggan_scale.config import to_tree
from biggan_scale.config.errors import ConfigError
from biggan_scale.engine.resume import check_same_experiment
from support.tiny import tiny_config


def trees(**changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    before = to_tree(tiny_config())
    after = copy.deepcopy(before)
    for key, value in changes.items():
        *path, name = key.split("__")
        place = after
        for part in path:
            place = place[part]
        place[name] = value
    return before, after


def test_how_far_and_how_often_may_change() -> None:
    check_same_experiment(*trees(until="7 h", max_rollbacks=5, watchdog__straggler=3.0), "run")


def test_what_changes_the_result_is_refused_by_every_key() -> None:
    with pytest.raises(ConfigError, match=r"batch_size: 8 -> 16, game.d_steps: 2 -> 1\).*allow_changes='\[batch_size, game.d_steps\]'"):
        check_same_experiment(*trees(batch_size=16, game__d_steps=1), "run")


@pytest.mark.parametrize("name", ["game.d_steps", "game"])
def test_a_change_may_be_allowed_by_name_or_by_the_block_it_is_in(name: str) -> None:
    check_same_experiment(*trees(game__d_steps=1, allow_changes=[name]), "run")
    with pytest.raises(ConfigError, match="batch_size: 8 -> 16\\)"):
        check_same_experiment(*trees(batch_size=16, game__d_steps=1, allow_changes=[name]), "run")


def test_run_of_an_older_version_goes_on_where_new_keys_have_their_defaults() -> None:
    before, after = trees()
    del before["game"]["generator"]["upsampling"], before["optim"]["D"]["clip_grad_norm"], before["health"]
    check_same_experiment(before, after, "run")
    after["game"]["generator"]["upsampling"] = "bilinear"
    with pytest.raises(ConfigError, match=r"game\.generator\.upsampling: nearest -> bilinear\)"):
        check_same_experiment(before, after, "run")


def test_key_that_is_no_more_is_a_change() -> None:
    before, after = trees()
    before["game"]["former"] = 3
    with pytest.raises(ConfigError, match=r"game\.former: 3 -> None\)"):
        check_same_experiment(before, after, "run")


def test_allowing_a_key_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"there is no key 'game\.d_step'; did you mean 'game\.d_steps'"):
        check_same_experiment(*trees(allow_changes=["game.d_step"]), "run")
