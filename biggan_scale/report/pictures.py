"""The sheets of samples of a run as parts of a page: the newest in full, of the earlier ones some, evenly spread.

A file that is being written at this moment is left out and named, not taken for broken.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

EARLIER = 4  # sheets shown beside the newest
MAX_BYTES = 2_000_000  # of a picture as it is; a larger one is made smaller
MAX_SIDE_PX = 1600
JPEG_QUALITY = 85


@dataclass(frozen=True)
class Picture:
    """A picture as a data URL.

    Args:
        name: of its file. width: in pixels, of the file.
        reduced: whether it is not as the file has it.
    """

    name: str
    url: str
    width: int
    reduced: bool


def newest_and_earlier(files: Sequence[Path]) -> list[Path]:
    """Of files in the order of time: the first, some between, the last."""
    last = len(files) - 1
    steps = min(EARLIER, last)
    return [files[round(i * last / steps)] for i in range(steps + 1)] if steps > 0 else list(files)


def embed(file: Path) -> Picture | None:
    """The picture in a file; None if there is no whole one."""
    try:
        content = file.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            if len(content) <= MAX_BYTES:
                return Picture(file.name, _url("png", content), image.width, reduced=False)
            small = image.convert("RGB")
            small.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
    except (OSError, SyntaxError, ValueError):  # what Pillow raises of half a PNG
        return None
    packed = io.BytesIO()
    small.save(packed, "JPEG", quality=JPEG_QUALITY)
    return Picture(file.name, _url("jpeg", packed.getvalue()), image.width, reduced=True)


def _url(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
