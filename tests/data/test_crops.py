"""Crops and filters against PIL, numpy and the published procedures, written here once more from their descriptions."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from biggan_scale.data.convert import Conversion, convert
from biggan_scale.data.decode import decode, stored_shape

RANDOM = np.random.RandomState(0)
IMAGE = np.kron(RANDOM.randint(0, 256, (10, 16, 4)), np.ones((6, 6, 1))).astype(np.uint8)  # 60 high, 96 wide, RGBA


def converted(pixels: np.ndarray, height: int, width: int, channels: int = 3, **options: object) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    defaults = {"encode": "raw", "quality": 95, "max_pixels": 10**6, "resize": True, "drop_colour": True}
    how = Conversion(height, width, channels, **{**defaults, **options})  # type: ignore[arg-type]
    data = convert(buffer.getvalue(), how).data
    assert stored_shape(data)[:2] == (height, width)
    out = np.empty((height, width, channels), np.uint8)
    decode(data, out)
    return out


@pytest.mark.parametrize("name, resampling", [("lanczos", Image.LANCZOS), ("box", Image.BOX), ("bicubic", Image.BICUBIC)])
def test_filters_are_pils(name: str, resampling: Image.Resampling) -> None:
    rgb = IMAGE[:, :, :3].copy()
    expected = np.asarray(Image.fromarray(rgb[:, 18:78]).resize((20, 20), resampling))
    assert np.array_equal(converted(rgb, 20, 20, filter=name), expected)


def test_box_is_the_mean_of_the_pixels_under_it() -> None:
    rgb = IMAGE[:, :, :3].copy()
    mean = rgb.reshape(20, 3, 32, 3, 3).mean((1, 3))
    assert np.abs(converted(rgb, 20, 32, filter="box") - mean).max() <= 1


def test_none_takes_the_whole_image_whatever_its_shape() -> None:
    rgb = IMAGE[:, :, :3].copy()
    assert np.array_equal(converted(rgb, 20, 20, crop="none"), np.asarray(Image.fromarray(rgb).resize((20, 20), Image.LANCZOS)))


def test_wide_lies_on_a_black_square() -> None:
    rgb = IMAGE[:, :, :3].copy()
    out = converted(rgb, 32, 32, crop="wide", content_height=20)
    assert (out[:6] == 0).all() and (out[26:] == 0).all()
    assert np.array_equal(out[6:26], np.asarray(Image.fromarray(rgb).resize((32, 20), Image.LANCZOS)))


@pytest.mark.parametrize("side", [7, 16, 30, 60, 80])
def test_adm_is_the_crop_of_guided_diffusion(side: int) -> None:
    """As its paper's code is described: halve by boxes while at least twice as large, bicubic to the side, cut the centre."""
    rgb = IMAGE[:, :, :3].copy()
    image = Image.fromarray(rgb)
    while min(image.size) >= 2 * side:
        image = image.resize((image.width // 2, image.height // 2), Image.BOX)
    scale = side / min(image.size)
    scaled = np.asarray(image.resize((round(image.width * scale), round(image.height * scale)), Image.BICUBIC))
    top, left = (scaled.shape[0] - side) // 2, (scaled.shape[1] - side) // 2
    assert np.array_equal(converted(rgb, side, side, crop="adm"), scaled[top : top + side, left : left + side])


@pytest.mark.parametrize("encode", ["raw", "png", "webp", "keep"])
def test_four_channels_keep_alpha(encode: str) -> None:
    assert np.array_equal(converted(IMAGE, 60, 96, channels=4, encode=encode), IMAGE)
    opaque = np.dstack([IMAGE[:, :, :3], np.full((60, 96), 255, np.uint8)])
    assert np.array_equal(converted(IMAGE[:, :, :3].copy(), 60, 96, channels=4, encode=encode), opaque)


def test_three_channels_lay_alpha_on_white() -> None:
    alpha = IMAGE[:, :, 3:] / 255.0
    expected = IMAGE[:, :, :3] * alpha + 255 * (1 - alpha)
    assert np.abs(converted(IMAGE, 60, 96) - expected).max() <= 1


def test_transparent_pixels_do_not_bleed_their_colour_when_resized() -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :4] = [255, 0, 0, 255]
    pixels[:, 4:] = [0, 255, 0, 0]  # invisible green
    out = converted(pixels, 2, 2, channels=4)
    visible = out[out[:, :, 3] > 20]
    assert (visible[:, 1] < 10).all()
