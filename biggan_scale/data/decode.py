"""Bytes of one stored image to pixels.

The format is told by the first bytes, from a fixed list: PNG, JPEG, WebP, and `.npy` for images stored without encoding.
Nothing else is ever tried, nothing is unpickled, and an image whose size is not the data set's is refused before it is decoded.
JPEG goes through simplejpeg where installed (three to five times PIL's speed at 64 px), else through PIL.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

try:
    import simplejpeg
except ImportError:
    simplejpeg = None

PIL_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def image_format(data: bytes) -> str | None:
    """png, jpeg, webp or raw (a .npy array); None for anything else."""
    if data[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data.startswith(b"\x93NUMPY"):
        return "raw"
    return None


def decode(data: bytes, out: NDArray[np.uint8]) -> None:
    """Fills `out` (H, W, C) with the pixels of an image that must have just this shape.

    Raises: ValueError, saying what is wrong with the image.
    """
    format_ = image_format(data)
    if format_ is None:
        raise ValueError(f"neither PNG, JPEG, WebP nor .npy: it begins with {data[:8]!r}")
    if format_ == "raw":
        _decode_raw(data, out)
    elif format_ == "jpeg" and simplejpeg is not None:
        _decode_jpeg(data, out)
    else:
        _decode_pil(data, format_, out)


def stored_shape(data: bytes) -> tuple[int, int, int]:
    """(H, W, C) as the image's header tells it. Raises: ValueError where `decode` could not read it either."""
    format_ = image_format(data)
    if format_ is None:
        raise ValueError(f"neither PNG, JPEG, WebP nor .npy: it begins with {data[:8]!r}")
    try:
        if format_ == "raw":
            file = io.BytesIO(data)
            np.lib.format.read_magic(file)
            height, width, channels = np.lib.format.read_array_header_1_0(file)[0]
        else:
            with Image.open(io.BytesIO(data), formats=(format_,)) as image:
                height, width, channels = image.height, image.width, {"L": 1, "RGB": 3, "RGBA": 4}[image.mode]
    except KeyError as error:
        raise ValueError(f"its pixels are {error.args[0]}; L, RGB and RGBA can be read") from None
    except Exception as error:  # PIL raises OSError, SyntaxError, struct.error, ... as its codecs please
        raise ValueError(f"{format_} with an unreadable header: {error}") from error
    return height, width, channels


def raw_header(height: int, width: int, channels: int) -> bytes:
    """The beginning of a .npy file of one (H, W, C) image; the pixels follow."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": (height, width, channels)})
    return buffer.getvalue()


def _decode_raw(data: bytes, out: NDArray[np.uint8]) -> None:
    start = len(data) - out.size
    if start < 0 or data[:start] != _expected_header(out.shape):
        raise ValueError(f"not a .npy array of uint8 {out.shape}")
    out[...] = np.frombuffer(data, np.uint8, offset=start).reshape(out.shape)


_headers: dict[tuple[int, ...], bytes] = {}


def _expected_header(shape: tuple[int, ...]) -> bytes:
    if shape not in _headers:
        _headers[shape] = raw_header(*shape)
    return _headers[shape]


_JPEG_CHANNELS = {"Gray": 1, "YCbCr": 3, "RGB": 3}


def _decode_jpeg(data: bytes, out: NDArray[np.uint8]) -> None:
    height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    channels = _JPEG_CHANNELS.get(colorspace, 0)
    if (height, width, channels) != out.shape:
        raise ValueError(f"{height}x{width} {colorspace}; wanted is {_shape_text(out)}")
    simplejpeg.decode_jpeg(data, "GRAY" if channels == 1 else "RGB", buffer=out)


def _decode_pil(data: bytes, format_: str, out: NDArray[np.uint8]) -> None:
    height, width, channels = out.shape
    try:
        with Image.open(io.BytesIO(data), formats=(format_,)) as image:
            stored_as = PIL_MODES[channels]
            if format_ == "webp" and image.mode == "RGB":
                stored_as = "RGB"  # WebP knows no grey, and drops an alpha that is opaque everywhere
            if image.size != (width, height) or image.mode != stored_as:
                raise ValueError(f"{image.height}x{image.width} {image.mode}; wanted is {_shape_text(out)}")
            if channels == 1 and stored_as == "RGB":
                image = image.getchannel(0)  # three equal channels stand for grey
            out[...] = np.asarray(image if image.mode == PIL_MODES[channels] else image.convert(PIL_MODES[channels])).reshape(out.shape)
    except ValueError:
        raise
    except Exception as error:  # PIL raises OSError, SyntaxError, struct.error, ... as its codecs please
        raise ValueError(f"{format_} does not decode: {error}") from error


def _shape_text(out: NDArray[np.uint8]) -> str:
    height, width, channels = out.shape
    return f"{height}x{width} {PIL_MODES[channels]}"
