"""train a run, or resume it from its newest checkpoint

Alone, under torchrun (`torchrun ... -m biggan_scale.cli train CONFIG ...`) and under Slurm it is the same command.
"""

from __future__ import annotations

import argparse
import os
import time

from biggan_scale.config import ConfigError, Loaded, load_config, micro_batches

IN_PROCESS_GROUP = ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS")  # set by torchrun, by srun
IN_JOB = (*IN_PROCESS_GROUP, "SLURM_NTASKS")  # what a batch script is going to start
IN_NODE = ("LOCAL_RANK", "SLURM_LOCALID")  # which of a node's ranks this is
SPEAKER_S = 10.0  # the ranks that keep silent stay so much longer: torchrun ends all when the first leaves, and the speaker may be slower


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="a YAML file, or the name of a page in configs/")
    parser.add_argument("overrides", metavar="key=value", nargs="*", default=[], help="settings over the page's, like optim.G.lr=1e-4")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--print-config", action="store_true", help="print the whole configuration, and where each value is from")
    instead.add_argument("--dry-run", action="store_true", help="check the configuration for the ranks of this job, and stop")


def run(args: argparse.Namespace) -> int:
    try:
        loaded = load_config(args.config, args.overrides)
        if args.print_config:
            print(loaded.to_yaml(origins=True), end="")
            return 0
        if args.dry_run:
            print(summary(loaded, _world(IN_JOB)))
            return 0
        micro_batches(loaded.config, _world(IN_PROCESS_GROUP))  # better said now than after loading torch and data
    except ConfigError as error:
        if _number(IN_NODE, 0) > 0:  # all ranks of a node read the same files: one speaks
            error.reported_elsewhere = True
            time.sleep(SPEAKER_S)
        raise

    from biggan_scale.engine.train import train

    return train(loaded)


def _world(variables: tuple[str, ...]) -> int:
    """The number of ranks, from the first of these environment variables that is set."""
    return _number(variables, 1)


def _number(variables: tuple[str, ...], default: int) -> int:
    return next((int(os.environ[name]) for name in variables if os.environ.get(name, "").isdecimal()), default)


def summary(loaded: Loaded, world: int) -> str:
    """The run in a line: what is trained on what, and how its batches are divided."""
    config, spec = loaded.config, loaded.config.image_spec()
    micro_batch, num_micro = micro_batches(config, world)
    batch = f"{config.batch_size} = {world} (ranks) x {num_micro} (micro-batches) x {micro_batch} (images)"
    images = f"{spec.channels} x {spec.height} x {spec.width}, {spec.num_classes or 'no'} classes"
    return (
        f"{config.run_dir}: {config.game.type} on {config.data.path}, {images}; batch_size {batch}; "
        f"{config.precision}, {config.parallel}; until {config.until}"
    )
