"""Any image file to the pixels of a data set, and these to the bytes that are stored.

Policy, the same for every source: EXIF orientation is applied, where EXIF can be read; 16 bits are scaled to 8; CMYK and palettes
become RGB; colour profiles are ignored, and like all that is said about an image they are not stored; transparency is laid on
white, unless four channels are wanted, which keep it. Then the image is cut and resized on 8 bits, with antialiasing, by one of

    center  the largest centred part of the wanted shape
    wide    the same, on a black square as wide as it is (StyleGAN's center-crop-wide; ours cuts the source by its shape alone)
    adm     halved by box filters while twice too large, resized by bicubic, cut to a centred square (ADM's, and EDM2's)
    none    the whole image, whatever its shape

An image that has the wanted size already is not resampled.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from biggan_scale.data.decode import PIL_MODES, image_format, raw_header

READABLE = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # PIL's names; PIL's other formats are never tried
FILTERS = {"lanczos": Image.Resampling.LANCZOS, "box": Image.Resampling.BOX, "bicubic": Image.Resampling.BICUBIC}
CROPS = ("center", "wide", "adm", "none")
EXTENSIONS = {"png": "png", "jpeg": "jpg", "webp": "webp", "raw": "npy"}
ARRAY_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # of a source's pixels, by their channels
ORIENTATION = 0x0112  # EXIF's tag
UPRIGHT = {  # what must be done to an image of each orientation but 1
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Conversion:
    """How every image is stored.

    Args:
        height, width, channels: of the stored images; 1 grey, 3 RGB, 4 RGB and alpha.
        encode: jpeg, png, webp (lossless), raw (.npy), or keep: the file as it is if it fits already, else png.
        quality: of jpeg, which is written without chroma subsampling.
        max_pixels: a larger source image is refused before it is decoded.
        resize: whether other sizes are cropped and resized, or refused.
        drop_colour: whether colour is turned to grey where channels is 1, or refused.
        crop: center, wide, adm or none.
        filter: lanczos, box or bicubic; adm has its own.
        content_height: of the image on its black square, where crop is wide.
    """

    height: int
    width: int
    channels: int
    encode: str
    quality: int
    max_pixels: int
    resize: bool
    drop_colour: bool
    crop: str = "center"
    filter: str = "lanczos"
    content_height: int | None = None


class Converted(NamedTuple):
    """One image as it is stored."""

    data: bytes
    extension: str
    upscaled: bool


def convert(source: bytes | NDArray[np.uint8], how: Conversion) -> Converted:
    """Raises: ValueError, saying what is wrong with the image."""
    if isinstance(source, np.ndarray):
        return _store(to_channels(open_image(source, how.max_pixels), how.channels, how.drop_colour), how)
    with open_image(source, how.max_pixels) as image:
        upright = _decoded(image)
        if how.encode == "keep" and _fits(image, source, how):
            return Converted(source, EXTENSIONS[str(image_format(source))], upscaled=False)
        return _store(to_channels(upright, how.channels, how.drop_colour), how)


def open_image(source: bytes | NDArray[np.uint8], max_pixels: int) -> Image.Image:
    """A PIL image of which only the header has been read. Raises: ValueError."""
    if isinstance(source, np.ndarray):
        return _image_of(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is ours
        try:
            image = Image.open(io.BytesIO(source), formats=READABLE)
        except UnidentifiedImageError:
            raise ValueError(f"not an image that can be read ({', '.join(READABLE)})") from None
        except Exception as error:  # PIL raises OSError, SyntaxError, DecompressionBombError, ... as its codecs please
            raise ValueError(f"not an image that can be read: {error}") from error
    if image.width * image.height > max_pixels:
        raise ValueError(f"{_size(*image.size)} is more than {max_pixels} pixels; allow it with --max-pixels")
    return image


def _image_of(pixels: NDArray[np.uint8]) -> Image.Image:
    height, width, channels = pixels.shape
    if channels not in ARRAY_MODES or not height * width:
        raise ValueError(f"is an array of {height}x{width} pixels with {channels} channels; an image has pixels, with 1 to 4 channels")
    # A fifth faster than fromarray.
    return Image.frombytes(ARRAY_MODES[channels], (width, height), np.ascontiguousarray(pixels))


def is_grey(image: Image.Image) -> bool:
    return image.mode in ("1", "L", "LA", "I;16", "I;16B", "I", "F")


def to_channels(image: Image.Image, channels: int, drop_colour: bool = True) -> Image.Image:
    """An image of mode L, RGB or RGBA."""
    if image.mode == "RGB" and channels == 3 and "transparency" not in image.info:
        return image
    if channels == 1 and not drop_colour and not is_grey(image):
        raise ValueError(f"is {image.mode}, others are grey; choose with --channels")
    if image.mode in ("I;16", "I;16B", "I"):
        image = _scale_16_bit(image)
    if image.mode == "F":
        raise ValueError("has floating-point pixels, whose range is unknown")
    if channels != 4 and ("A" in image.mode or "a" in image.mode or "transparency" in image.info):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image if image.mode == PIL_MODES[channels] else image.convert(PIL_MODES[channels])


def _store(pixels: Image.Image, how: Conversion) -> Converted:
    encode = "png" if how.encode == "keep" else how.encode
    width, height = pixels.size
    if (width, height) == (how.width, how.height) and how.crop != "wide":
        return Converted(_encode(pixels, encode, how.quality), EXTENSIONS[encode], upscaled=False)
    if not how.resize:
        given, wanted = _size(width, height), _size(how.width, how.height)
        raise ValueError(f"is {given}, others are {wanted} (width x height); choose with --resolution")
    upscaled = width < how.width or height < (how.content_height or how.height)
    return Converted(_encode(fit(pixels, how), encode, how.quality), EXTENSIONS[encode], upscaled)


def fit(image: Image.Image, how: Conversion) -> Image.Image:
    """The image, of another size, in the wanted one."""
    size = (how.width, how.height)
    if how.crop == "adm":
        return _fit_as_adm(image, size)
    resampling = FILTERS[how.filter]
    if how.crop == "none":
        return image.resize(size, resampling)
    if how.crop == "center":
        return _fit_centre(image, size, resampling)
    height = how.content_height or how.height
    square = Image.new(image.mode, size)  # black; where there is alpha, transparent
    square.paste(_fit_centre(image, (how.width, height), resampling), (0, (how.height - height) // 2))
    return square


def _fit_centre(image: Image.Image, size: tuple[int, int], resampling: Image.Resampling) -> Image.Image:
    """The largest centred part of the shape width : height, antialiased to that size."""
    width, height = size
    cut_width = min(image.width, max(1, round(image.height * width / height)))
    cut_height = min(image.height, max(1, round(image.width * height / width)))
    left, top = (image.width - cut_width) // 2, (image.height - cut_height) // 2
    if image.size != (cut_width, cut_height):
        image = image.crop((left, top, left + cut_width, top + cut_height))
    return image if image.size == size else image.resize(size, resampling)


def _fit_as_adm(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A centred square as in Dhariwal and Nichol (2021), so that numbers can be compared with theirs."""
    side = size[0]
    while min(image.size) >= 2 * side:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = side / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _decoded(image: Image.Image) -> Image.Image:
    """The image as its EXIF orientation says it should be seen."""
    try:
        image.load()
        orientation = _orientation(image)
        return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image
    except Exception as error:  # as in `open_image`
        raise ValueError(f"does not decode: {error}") from error


def _orientation(image: Image.Image) -> int:
    """EXIF's; 1, upright, where it says nothing, or is damaged: the pixels are not worse for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return int(image.getexif().get(ORIENTATION, 1))
        except Exception:  # as in `open_image`
            return 1


def _scale_16_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("has 32-bit pixels beyond 16 bits, whose range is unknown")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _fits(image: Image.Image, source: bytes, how: Conversion) -> bool:
    return (
        image_format(source) in EXTENSIONS
        and image.size == (how.width, how.height)
        and image.mode == PIL_MODES[how.channels]
        and "transparency" not in image.info
        and _orientation(image) == 1
    )


def _size(width: int, height: int) -> str:
    return f"{width}x{height}"


def _encode(image: Image.Image, encode: str, quality: int) -> bytes:
    if encode == "raw":
        return raw_header(image.height, image.width, len(image.getbands())) + image.tobytes()
    image.info.clear()  # of the source; Pillow would store its colour profile (PNG) and its comment (JPEG)
    buffer = io.BytesIO()
    if encode == "jpeg":
        image.save(buffer, "JPEG", quality=quality, subsampling=0)
    elif encode == "png":
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "WEBP", lossless=True, exact=True)  # exact: also the colour of what is transparent
    return buffer.getvalue()
