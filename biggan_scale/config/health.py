"""What is watched for the signs of a run going wrong: the `health:` block of a page. `docs/health.md` says what each number means.

Limits are settings of the watch, not of the training: as long as `roll_back` is off, nothing here changes the result of a run.
"""

from __future__ import annotations

from dataclasses import dataclass

from biggan_scale.config.duration import Duration


@dataclass(frozen=True, kw_only=True)
class HealthConfig:
    """Signs of a collapse, and how far they may go. A limit of null switches its alarm off."""

    every: Duration | None = Duration(100, "rounds")  # how often it is measured, in images or rounds; null: never
    num: int = 64  # images compared: so many generated, real and held-out ones, the same each time
    held_out: str | None = None  # data like data.path that is not trained on, say of `biggan-data split`; null: overfitting is not watched
    grace: Duration = Duration(500, "rounds")  # from the start of the run, when only values that are not finite raise an alarm
    patience: int = 2  # measurements in a row beyond a limit that make an alarm
    min_diversity: float | None = 0.3  # of generated images, as a part of the real ones' (collapse)
    min_modes: float | None = 0.2  # effective number of different images, as a part of the real ones' (collapse)
    max_sigma_growth: float | None = 3.0  # of a weight's leading singular value over its recent median (explosion)
    max_memory: float | None = 0.75  # chance that D scores a training image above a held-out one; 0.5 is none the wiser (overfitting)
    min_gradient: float | None = 0.1  # of a player's gradient norm over its recent median, while D errs nowhere (D has won)
    min_separation: float | None = 0.2  # chance that D scores a real image above a generated one; 0.5 is a guess (D is lost)
    roll_back: bool = False  # go back to the last healthy checkpoint on an alarm; false: only say so

    def __post_init__(self) -> None:
        limits = ("min_diversity", "min_modes", "max_sigma_growth", "max_memory", "min_gradient", "min_separation")
        negative = [f"{name} {getattr(self, name)} must be 0 or more, or null" for name in limits if (getattr(self, name) or 0) < 0]
        problems = [
            *negative,
            *([f"every {self.every} must be of images or rounds, and above 0; null: never"] if not _counts(self.every) else []),
            *([f"grace {self.grace} must be of images or rounds"] if self.grace.seconds() is not None else []),
            *([f"num {self.num} must be at least 8"] if self.num < 8 else []),
            *([f"patience {self.patience} must be at least 1"] if self.patience < 1 else []),
        ]
        if problems:
            raise ValueError("\n".join(problems))


def _counts(every: Duration | None) -> bool:
    return every is None or (every.seconds() is None and every.value > 0)
