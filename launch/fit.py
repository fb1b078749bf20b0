"""Does a job fit the GPUs that it is going to ask for? Told before it waits for them, where `slurm.device` says of which kind they are.

The answer is the plan's, of which `biggan-scale plan` tells more. To plan is to load torch and to walk through the networks: seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from biggan_scale.cli import plan as plans
from biggan_scale.config import RunConfig
from biggan_scale.config.errors import ConfigError
from launch.job import Job


def told(jobs: Sequence[Job]) -> list[str]:
    """A line for each different plan among the jobs; none if no device is named.

    Raises:
        ConfigError: a rank needs more memory than its GPU has.
    """
    different = {_what_counts(job.config): job.config for job in jobs if job.config.slurm.device is not None}
    return [_line(config) for config in different.values()]


def _what_counts(config: RunConfig) -> str:
    """What memory depends on; the rest of a grid, like learning rates, costs no further plan."""
    return repr((config.game, config.data, config.batch_size, config.micro_batch, config.precision))


def _line(config: RunConfig) -> str:
    plan = plans.make(config, config.slurm.world, config.slurm.device)
    if not plan.fits:
        raise ConfigError(f"slurm.device: {plans.shortage(plan)}; slurm.device=null submits it unplanned")
    hours = "" if plan.seconds is None else f", at least {plan.seconds / 3600:,.1f} h"
    return f"planned: {plan.peak / 1e9:.1f} of {plan.device_gb:.3g} GB per rank on {plan.device}{hours} (biggan-scale plan tells more)"
