"""Configuration: YAML pages to frozen dataclasses. Imports neither torch nor numpy, so that a mistake is answered at once."""

from biggan_scale.config.component import Part, build, part
from biggan_scale.config.duration import Duration
from biggan_scale.config.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DoNotRequeue,
    EnvironmentFault,
    Preempted,
    UserError,
)
from biggan_scale.config.health import HealthConfig
from biggan_scale.config.load import Loaded, config_from_tree, load_config, to_tree
from biggan_scale.config.schedule import Schedule
from biggan_scale.config.schema import (
    CheckpointConfig,
    DataConfig,
    EmaConfig,
    LogConfig,
    OptimizerConfig,
    RunConfig,
    SnapshotConfig,
    micro_batches,
)
from biggan_scale.config.spec import ImageSpec

__all__ = [
    "CheckpointConfig",
    "CheckpointError",
    "ConfigError",
    "DataConfig",
    "DataError",
    "DoNotRequeue",
    "Duration",
    "EmaConfig",
    "EnvironmentFault",
    "HealthConfig",
    "ImageSpec",
    "Loaded",
    "LogConfig",
    "OptimizerConfig",
    "Part",
    "Preempted",
    "RunConfig",
    "Schedule",
    "SnapshotConfig",
    "UserError",
    "build",
    "config_from_tree",
    "load_config",
    "micro_batches",
    "part",
    "to_tree",
]
