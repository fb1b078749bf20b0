"""Opens the data a config names: a directory or URL of shards, or the images that travel with this package.

`packaged:emoji64` is a zip of 3812 emoji images (64 px, RGB, nine classes, with their licences) beside this file. At first use
it is packed, at the resolution wanted, into the user's cache directory ($BIGGAN_SCALE_CACHE, else ~/.cache/biggan_scale). Of
several processes that want it one packs and the others wait.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import zlib
from pathlib import Path
from urllib.parse import unquote

from biggan_scale.config.errors import ConfigError, EnvironmentFault
from biggan_scale.data.index import Dataset, sync_directory
from biggan_scale.data.pack import PackOptions, pack
from biggan_scale.data.remote import RemoteOptions, open_remote
from biggan_scale.data.sources import ZipSource
from biggan_scale.data.transfer import is_url

PREFIX = "packaged:"
LOCAL_SCHEME = "file://"
SHARD_SAMPLES = 256  # fifteen shards: one window of the default order, so all images are shuffled together
RAW_PIXELS = 64 * 64  # up to here raw pixels are small (12 kB an image) and read many times faster than they decode


def open_dataset(path: str, resolution: int | tuple[int, int], channels: int, remote: RemoteOptions | None = None) -> Dataset:
    """The data set at a path or URL, or a packaged one made for this resolution (side, or height and width) and number of channels.

    Raises: DataError, ConfigError, EnvironmentFault.
    """
    if not path.startswith(PREFIX):
        return open_stored(path, remote)
    size = (resolution, resolution) if isinstance(resolution, int) else resolution
    return _open_packaged(path.removeprefix(PREFIX), size, channels)


def open_stored(path: str, remote: RemoteOptions | None = None, check_files: bool = True, cache: Path | None = None) -> Dataset:
    """The data set at a path or URL.

    Args:
        remote: how remote shards are read.
        check_files: whether local shards are looked at; see `Dataset.open`.
        cache: where remote shards come to, instead of the user's cache.

    Raises: DataError.
    """
    if is_remote(path):
        return open_remote(path, cache or cache_directory() / "shards", remote or RemoteOptions())
    return Dataset.open(unquote(path.removeprefix(LOCAL_SCHEME)) if is_url(path) else path, check_files)


def is_remote(path: str) -> bool:
    return is_url(path) and not path.startswith(LOCAL_SCHEME)


def _open_packaged(name: str, size: tuple[int, int], channels: int) -> Dataset:
    archive = Path(__file__).with_name(f"{name}.zip")
    if not archive.exists():
        known = ", ".join(sorted(PREFIX + file.stem for file in Path(__file__).parent.glob("*.zip")))
        raise ConfigError(f"data.path {PREFIX + name}: no such data in this package; there is {known}")
    version = zlib.crc32(archive.read_bytes())  # another release's images are another directory
    height, width = size
    final = cache_directory() / f"{name}-{version:08x}-{height}x{width}x{channels}"
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with open(final.with_suffix(".lock"), "w") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            if not final.exists():
                _pack_into(final, archive, size, channels)
    except OSError as error:
        raise EnvironmentFault(f"{error.filename or final}: {error.strerror}; set BIGGAN_SCALE_CACHE to a writable directory") from error
    return Dataset.open(final)


def cache_directory() -> Path:
    return Path(os.environ.get("BIGGAN_SCALE_CACHE") or Path.home() / ".cache" / "biggan_scale")


def _pack_into(final: Path, archive: Path, size: tuple[int, int], channels: int) -> None:
    print(f"packing {archive.name} at {size[0]}x{size[1]} into {final} (once)", file=sys.stderr, flush=True)
    unfinished = final.with_suffix(".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    encode = "raw" if size[0] * size[1] <= RAW_PIXELS else "png"
    pack(ZipSource(archive), unfinished, PackOptions(size, channels, encode=encode, shard_samples=SHARD_SAMPLES), workers=0)
    os.replace(unfinished, final)
    sync_directory(final.parent)
