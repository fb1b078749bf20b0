"""What cannot be asked for is answered in one line, before torch is loaded."""

from __future__ import annotations

from typing import Any

import pytest

from biggan_scale.config import ConfigError
from biggan_scale.evaluation.request import Request, parse_metrics


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"metrics": ("fidd",)}, "--metrics: unknown metric 'fidd'; did you mean 'fid'?"),
        ({"metrics": ("xyz",)}, "--metrics: unknown metric 'xyz'; allowed: fid, kid, prdc, inception_score, accuracy, neighbours, "),
        ({"features": "pixel"}, "--features: unknown features 'pixel'; did you mean 'pixels'?"),
        ({"features": "inception.pt"}, "--features inception.pt: such a file may hold code and is not loaded; give Inception's weights"),
        ({"features": "inception.pth"}, "--features inception.pth: no such file"),
        (
            {"metrics": ("accuracy",), "features": "pixels"},
            "--metrics accuracy asks for the classes of the data, so --features must be classifier, not pixels",
        ),
        ({"metrics": ("prdc",), "num": 5}, "--num 5: prdc needs at least 6 images of each kind"),
        (
            {"metrics": ("inception_score",)},
            "--metrics inception_score needs class probabilities, which --features random has not; allowed: ",
        ),
    ],
)
def test_a_mistake_names_what_is_allowed(wrong: dict[str, Any], message: str) -> None:
    right = {"metrics": ("fid",), "features": "random", "num": 100, "data": "shards"}
    with pytest.raises(ConfigError) as error:
        Request(**{**right, **wrong})
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_metrics_are_taken_once_each_in_the_order_given() -> None:
    assert parse_metrics("kid, fid,kid") == ("kid", "fid")
