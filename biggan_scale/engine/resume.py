"""May this run go on from that checkpoint? The same command resumes; another experiment must not be mistaken for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from biggan_scale.config import config_from_tree, to_tree
from biggan_scale.config.errors import CheckpointError, ConfigError, did_you_mean

# What may change between two starts of one run: how far, how fast, how often it is written down.
FREE = (
    "run_dir",
    "allow_changes",
    "until",
    "micro_batch",
    "parallel",
    "max_bad_rounds",
    "max_rollbacks",
    "data.path",
    "data.workers",
    "data.max_bad_share",
    "data.cache_gb",
    "data.range_reads_gb",
    "data.tries",
    "data.timeout_s",
    "checkpoint",
    "watchdog",
    "log",
    "snapshot",
    "health",
    "slurm",
)


def check_same_experiment(before: Mapping[str, Any], after: Mapping[str, Any], run_dir: str) -> None:
    """Compare the config a run was started with to the one it is resumed with (as trees).

    Keys that did not exist when it was started have their defaults: those of a new key mean what was done before there was the key.

    Raises:
        ConfigError: names every key that changed, would change the result and is not among the new one's `allow_changes`.
    """
    old, new = dict(_leaves(_completed(before))), dict(_leaves(after))
    keys = old.keys() | new.keys()
    allowed = tuple(after.get("allow_changes", ()))
    for name in allowed:
        if not any(_is_under(key, name) for key in keys):
            raise ConfigError(f"allow_changes: there is no key '{name}'; {did_you_mean(name, sorted(keys))}")
    changed = [k for k in sorted(keys) if old.get(k) != new.get(k) and not any(_is_under(k, name) for name in (*FREE, *allowed))]
    if changed:
        changes = ", ".join(f"{key}: {old.get(key)} -> {new.get(key)}" for key in changed)
        raise ConfigError(
            f"run_dir {run_dir} was started with another config ({changes}); put it back, start anew in another run_dir, "
            f"or go on with the change by allow_changes='[{', '.join(changed)}]'"
        )


def check_same_data(before: str, after: str, path: str, checkpoint: str) -> None:
    """Raises:
    CheckpointError: the shards are not those the run has been trained on.
    """
    if before != after:
        raise CheckpointError(
            f"data.path {path} is not the data set that {checkpoint} was trained on (fingerprint {after[:12]}, was {before[:12]}); "
            "give the old shards, or start anew in another run_dir"
        )


def _completed(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """With every key there is now; as it is, where it has some that there are no more."""
    try:
        return json.loads(json.dumps(to_tree(config_from_tree(tree, "the config of the checkpoint"))))
    except ConfigError:
        return tree


def _is_under(key: str, name: str) -> bool:
    return key == name or key.startswith(f"{name}.")


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in tree.items():
        found += _leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(prefix + key, value)]
    return found
