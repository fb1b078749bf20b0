"""What can be asked of `biggan-scale evaluate`: the metrics, what each needs, the features; and whether a request makes sense.

Torch-free, so that a misspelt name is answered at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from biggan_scale.config.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Metric:
    """What a metric needs before it can be computed.

    fewest: samples of each kind. real, fake: features of such images. paths: pairs of neighbours on
    ways between samples. labels: of the real ones. classes: features with class
    probabilities. conditional: a model that is asked for classes. reconstructed: real images as the model's encoder and generator
    give them back.
    """

    fewest: int
    real: bool = True
    fake: bool = True
    labels: bool = False
    classes: bool = False
    conditional: bool = False
    reconstructed: bool = False
    paths: bool = False


METRICS = {
    "fid": Metric(fewest=2),
    "kid": Metric(fewest=4),
    "prdc": Metric(fewest=6),
    "inception_score": Metric(fewest=10, real=False, classes=True),
    "accuracy": Metric(fewest=1, classes=True, conditional=True),
    "neighbours": Metric(fewest=2),
    "linear_probe": Metric(fewest=10, fake=False, labels=True),
    "linear_probe_crelu": Metric(fewest=10, fake=False, labels=True),
    "reconstruction": Metric(fewest=2, real=False, fake=False, reconstructed=True),
    "ppl": Metric(fewest=1, real=False, fake=False, paths=True),
}
DEFAULT_METRICS = ("fid", "kid", "prdc")

FEATURES = ("random", "classifier", "pixels", "encoder", "discriminator")
DEFAULT_FEATURES = "random"
WEIGHTS_SUFFIXES = (".pth", ".safetensors")  # of Inception, read as tensors alone


@dataclass(frozen=True)
class Request:
    """What to measure, and on which samples.

    metrics: of the names above. features: likewise, or a file of Inception's weights. num: of images of each kind; of real ones at
    most all there are.
    data, test_data: shards; the second for the accuracies of linear_probe and neighbours, else a fifth of the first is held out.
    seed, truncation: of the generated images.

    Raises:
        ConfigError: a name is unknown, or the parts do not fit.
    """

    metrics: tuple[str, ...]
    features: str
    num: int
    data: str
    test_data: str | None = None
    seed: int = 0
    truncation: float | None = None

    def __post_init__(self) -> None:
        check_features(self.features)
        for name in self.metrics:
            if name not in METRICS:
                raise ConfigError(f"--metrics: unknown metric '{name}'; {did_you_mean(name, METRICS)}")
            if self.num < METRICS[name].fewest:
                raise ConfigError(f"--num {self.num}: {name} needs at least {METRICS[name].fewest} images of each kind")
            self._check_classes(name)

    @property
    def inception_file(self) -> Path | None:
        """The file of weights that is given in place of a name of features."""
        return None if self.features in FEATURES else Path(self.features)

    def _check_classes(self, name: str) -> None:
        metric = METRICS[name]
        if metric.conditional and self.features != "classifier":
            raise ConfigError(f"--metrics {name} asks for the classes of the data, so --features must be classifier, not {self.features}")
        if metric.classes and self.features != "classifier" and self.inception_file is None:
            raise ConfigError(
                f"--metrics {name} needs class probabilities, which --features {self.features} has not; "
                "allowed: classifier, or a file of Inception's weights"
            )

    def first_that(self, what: str) -> str | None:
        """The first of the metrics that needs something, a field of `Metric`; None if none does."""
        return next((name for name in self.metrics if getattr(METRICS[name], what)), None)


def check_features(name: str) -> None:
    """Raises ConfigError for features there are not."""
    if name in FEATURES:
        return
    file = Path(name)
    if file.suffix in WEIGHTS_SUFFIXES:
        if not file.is_file():
            raise ConfigError(f"--features {name}: no such file")
    elif file.suffix in (".pt", ".pkl", ".ts", ".torchscript") or file.is_file():
        raise ConfigError(
            f"--features {name}: such a file may hold code and is not loaded; give Inception's weights as .pth or .safetensors"
        )
    else:
        raise ConfigError(f"--features: unknown features '{name}'; {did_you_mean(name, FEATURES)}")


def parse_metrics(text: str) -> tuple[str, ...]:
    """Names separated by commas, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",")))
