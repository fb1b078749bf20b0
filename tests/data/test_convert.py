"""Every kind of image file to the same kind of pixels, by the policy stated in convert.py."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from biggan_scale.data.convert import Conversion, convert
from biggan_scale.data.decode import decode

RAMP = np.linspace(0, 255, 8 * 6 * 3).astype(np.uint8).reshape(8, 6, 3)


def conversion(height: int = 8, width: int = 6, channels: int = 3, **options: object) -> Conversion:
    defaults = {"encode": "raw", "quality": 95, "max_pixels": 10**6, "resize": True, "drop_colour": True}
    return Conversion(height, width, channels, **{**defaults, **options})  # type: ignore[arg-type]


def file_of(image: Image.Image, format_: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def pixels_of(data: bytes, how: Conversion) -> np.ndarray:
    out = np.empty((how.height, how.width, how.channels), np.uint8)
    decode(convert(data, how).data, out)
    return out


def test_exif_orientation_is_applied() -> None:
    image = Image.fromarray(RAMP)
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned: rotate a quarter clockwise to see it upright
    out = pixels_of(file_of(image, exif=exif), conversion(height=6, width=8))
    assert np.array_equal(out, np.rot90(RAMP, k=-1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file_of(Image.fromarray(RAMP), exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert np.array_equal(pixels_of(data, conversion(*expected.shape[:2])), expected)


@pytest.mark.parametrize("exif", [b"Exif\0\0MM", b"Exif\0\0nonsense in place of a header", b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12"])
@pytest.mark.parametrize("encode", ["raw", "keep"])
def test_an_image_is_not_worse_for_damaged_exif(exif: bytes, encode: str, recwarn: pytest.WarningsRecorder) -> None:
    data = file_of(Image.fromarray(RAMP), exif=exif)
    assert np.array_equal(pixels_of(data, conversion(encode=encode)), RAMP)
    assert not recwarn.list


@pytest.mark.parametrize("size", [(8, 6), (16, 12)])
@pytest.mark.parametrize("encode", ["png", "jpeg", "webp"])
def test_nothing_but_pixels_is_stored(encode: str, size: tuple[int, int]) -> None:
    """Pillow hands on colour profiles (some kilobytes each) and comments unasked."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(RAMP).resize(size[::-1])
    exif = Image.Exif()
    exif[0x010E] = "the photographer's name"
    plain = convert(file_of(image, "JPEG"), conversion(encode=encode))
    assert convert(file_of(image, "JPEG", icc_profile=profile, comment=b"secret", exif=exif), conversion(encode=encode)) == plain


@pytest.mark.parametrize("shape", [(8, 6, 5), (8, 6, 0), (0, 6, 3), (8, 0, 1)])
def test_an_array_that_is_no_image_is_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"is an array of .*; an image has pixels, with 1 to 4 channels"):
        convert(np.zeros(shape, np.uint8), conversion())


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_arrays_are_converted_as_files_are(channels: int) -> None:
    array = np.random.default_rng(0).integers(0, 256, (8, 6, channels), np.uint8)
    file = file_of(Image.fromarray(array[:, :, 0] if channels == 1 else array))
    for wanted in (1, 3, 4):
        assert convert(array, conversion(channels=wanted)) == convert(file, conversion(channels=wanted))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(mode: str) -> None:
    image = Image.fromarray(np.full((8, 6, 4), [100, 100, 100, 0], np.uint8)).convert(mode)
    image.putpixel((0, 0), (100, 100, 100, 255) if mode == "RGBA" else (100, 255))
    out = pixels_of(file_of(image), conversion())
    assert out[0, 0].tolist() == [100, 100, 100]
    assert (out.reshape(-1, 3)[1:] == 255).all()


def test_a_palette_with_transparency_is_laid_on_white() -> None:
    image = Image.new("P", (6, 8), 1)
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.putpixel((2, 3), 0)
    out = pixels_of(file_of(image, transparency=1), conversion())
    assert out[3, 2].tolist() == [10, 20, 30]
    assert out[0, 0].tolist() == [255, 255, 255]


def test_cmyk_becomes_rgb() -> None:
    image = Image.new("CMYK", (6, 8), (0, 255, 255, 0))
    out = pixels_of(file_of(image, "JPEG", quality=100), conversion())
    assert np.abs(out.astype(int) - [255, 0, 0]).max() <= 3


def test_sixteen_bits_are_scaled_to_eight() -> None:
    values = np.linspace(0, 65535, 48).reshape(8, 6).astype(np.uint16)
    out = pixels_of(file_of(Image.fromarray(values)), conversion(channels=1))
    assert np.array_equal(out[:, :, 0], np.round(values / 257).astype(np.uint8))


def test_grey_becomes_three_equal_channels_and_colour_grey() -> None:
    grey = RAMP[:, :, 0]
    assert np.array_equal(pixels_of(file_of(Image.fromarray(grey)), conversion()), np.stack([grey] * 3, axis=2))
    out = pixels_of(file_of(Image.fromarray(RAMP)), conversion(channels=1))
    assert np.array_equal(out[:, :, 0], np.asarray(Image.fromarray(RAMP).convert("L")))


def test_colour_is_not_dropped_unasked() -> None:
    with pytest.raises(ValueError, match="is RGB, others are grey; choose with --channels"):
        convert(file_of(Image.fromarray(RAMP)), conversion(channels=1, drop_colour=False))


@pytest.mark.parametrize("size", [(60, 40), (40, 60), (33, 7)])
def test_the_crop_is_central_and_the_resize_antialiased(size: tuple[int, int]) -> None:
    """A fine chequerboard becomes even grey: without antialiasing it would alias to black and white."""
    board = np.indices((size[1] * 4, size[0] * 4)).sum(0) % 2 * 255
    out = pixels_of(file_of(Image.fromarray(board.astype(np.uint8))), conversion(height=8, width=8, channels=1))
    assert np.abs(out.astype(int) - 127.5).max() < 10
    marked = np.zeros((size[1], size[0]), np.uint8)
    marked[size[1] // 2, size[0] // 2] = 255
    out = pixels_of(file_of(Image.fromarray(marked)), conversion(height=5, width=5, channels=1))
    assert np.unravel_index(out.argmax(), (5, 5)) == (2, 2)


def test_keep_keeps_what_fits_and_converts_the_rest() -> None:
    keep = conversion(encode="keep")
    for format_, options in (("PNG", {}), ("JPEG", {"quality": 70}), ("WEBP", {"quality": 50})):
        data = file_of(Image.fromarray(RAMP), format_, **options)
        assert convert(data, keep).data == data
    exif = Image.Exif()
    exif[0x0112] = 3
    misfits = [
        file_of(Image.fromarray(RAMP).resize((12, 16))),
        file_of(Image.fromarray(RAMP), exif=exif),
        file_of(Image.fromarray(RAMP).convert("RGBA")),
        file_of(Image.fromarray(RAMP[:, :, 0])),
        file_of(Image.fromarray(RAMP), "BMP"),
    ]
    for data in misfits:
        converted = convert(data, keep)
        assert converted.data != data and converted.extension == "png"


def bomb() -> bytes:
    """A PNG of a few hundred bytes whose header claims 20000x20000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data, message",
    [
        (bomb(), "allow it with --max-pixels|exceeds limit"),
        (b"", "not an image that can be read"),
        (b"GIF89a nothing more", "not an image that can be read"),
        (file_of(Image.fromarray(RAMP))[:-40], "does not decode"),
        (file_of(Image.fromarray(RAMP), "JPEG")[:300], "does not decode|not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 8\n", "not an image that can be read"),
        (file_of(Image.fromarray(RAMP[:, :, 0].astype(np.float32)), "TIFF"), "range is unknown"),
    ],
)
def test_what_cannot_be_converted_says_why_in_one_line(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        convert(data, conversion())
    assert "\n" not in str(caught.value) and "BytesIO" not in str(caught.value)
