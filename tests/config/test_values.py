"""Durations and schedules against values worked out by hand; the batch arithmetic; the shape of the images."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from biggan_scale.config import ConfigError, Duration, ImageSpec, Schedule, load_config, micro_batches


@pytest.mark.parametrize(
    ("text", "images", "seconds"),
    [
        ("640 img", 640, None),
        ("0 img", 0, None),
        ("200 kimg", 200_000, None),
        ("0.5 kimg", 500, None),
        ("1.5 Mimg", 1_500_000, None),
        ("40 rounds", 40 * 32, None),
        ("20 s", None, 20),
        ("1.5 min", None, 90),
        ("3 h", None, 10_800),
        ("2 d", None, 172_800),
    ],
)
def test_duration(text: str, images: int | None, seconds: float | None) -> None:
    duration = Duration.parse(text)
    assert (duration.images(images_per_round=32), duration.seconds()) == (images, seconds)
    assert str(duration) == text
    assert Duration.parse(str(duration)) == duration


@pytest.mark.parametrize("text", ["", "200", "kimg", "200 kimgs", "-1 kimg", "1e999 img", "nan s", "1 kimg 2 img", "1 KIMG"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration: a number and one of img, kimg, Mimg, rounds, s, min, h, d, like '200 kimg'"):
        Duration.parse(text)


def test_duration_counts_forward() -> None:
    with pytest.raises(ValueError, match="-1 kimg is not a duration"):
        Duration(-1, "kimg")


RAMP = {"from_": 8.0, "to": 2.0, "start": Duration(100, "img"), "end": Duration(30, "rounds")}  # 10 images a round: ends at 300


@pytest.mark.parametrize(
    ("shape", "a_quarter", "half_way"),
    [
        ("linear", 6.5, 5.0),
        ("cosine", 8 - 6 * (1 - math.sqrt(0.5)) / 2, 5.0),
        ("exponential", 8 / math.sqrt(2), 4.0),
        ("step", 8.0, 8.0),
    ],
)
def test_schedule(shape: str, a_quarter: float, half_way: float) -> None:
    schedule = Schedule(**RAMP, shape=shape)
    values = [schedule.at(nimg, images_per_round=10) for nimg in (0, 100, 150, 200, 300, 10**9)]
    assert values == pytest.approx([8, 8, a_quarter, half_way, 2, 2], rel=1e-14)


def test_constant_schedule_never_changes() -> None:
    assert {Schedule.constant(0.25).at(nimg, 8) for nimg in (0, 1, 10**12)} == {0.25}
    assert Schedule.constant(0.25).is_constant
    assert not Schedule(**RAMP).is_constant


def test_exponential_schedule_to_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="shape exponential needs from and to above 0"):
        Schedule(1.0, 0.0, end=Duration(1, "kimg"), shape="exponential")


@pytest.mark.parametrize(
    ("batch_size", "micro_batch", "world", "expected"),
    [(256, None, 1, (256, 1)), (256, None, 8, (32, 1)), (256, 8, 8, (8, 4)), (256, 256, 1, (256, 1)), (1, None, 1, (1, 1))],
)
def test_micro_batches(page: Path, batch_size: int, micro_batch: int | None, world: int, expected: tuple[int, int]) -> None:
    config = dataclasses.replace(load_config("page.yaml").config, batch_size=batch_size, micro_batch=micro_batch)
    assert micro_batches(config, world) == expected


@pytest.mark.parametrize(
    ("batch_size", "micro_batch", "world", "message"),
    [
        (250, 4, 8, "batch_size 250 is not divisible by 8 ranks x micro_batch 4; nearest: 224 or 256"),
        (250, None, 4, "batch_size 250 is not divisible by 4 ranks; nearest: 248 or 252"),
        (10, 4, 1, "batch_size 10 is not divisible by 1 rank x micro_batch 4; nearest: 8 or 12"),
        (3, None, 8, "batch_size 3 is not divisible by 8 ranks; nearest: 8"),
    ],
)
def test_batch_that_does_not_divide(page: Path, batch_size: int, micro_batch: int | None, world: int, message: str) -> None:
    config = dataclasses.replace(load_config("page.yaml").config, batch_size=batch_size, micro_batch=micro_batch)
    with pytest.raises(ConfigError) as caught:
        micro_batches(config, world)
    assert str(caught.value) == message


def test_image_spec_follows_the_data(page: Path) -> None:
    config = load_config("page.yaml", ["data.resolution=[64, 32]", "data.channels=1", "data.num_classes=10"]).config
    assert config.image_spec() == ImageSpec(height=64, width=32, channels=1, num_classes=10)
    with pytest.raises(ConfigError, match="64 x 32 is not square"):
        _ = config.image_spec().resolution


def test_data_has_a_seed_of_its_own_if_it_is_given_one(page: Path) -> None:
    assert load_config("page.yaml", ["seed=3"]).config.data_seed == 3
    assert load_config("page.yaml", ["seed=3", "data.shuffle_seed=0"]).config.data_seed == 0
