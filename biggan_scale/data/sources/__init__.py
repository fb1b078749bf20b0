"""Where images come from before they are packed: one file a kind of source, and `open_source`, which tells them by their content."""

from __future__ import annotations

import glob
import gzip
import tarfile
import zipfile
import zlib
from pathlib import Path

from biggan_scale.config.errors import ConfigError, DataError
from biggan_scale.data.sources import cifar, lmdb, parquet
from biggan_scale.data.sources.base import Listing, Sample, Source
from biggan_scale.data.sources.cifar import CifarSource
from biggan_scale.data.sources.csv_labels import label_by_csv
from biggan_scale.data.sources.folder import FolderSource
from biggan_scale.data.sources.idx import IdxSource
from biggan_scale.data.sources.lmdb import LmdbSource
from biggan_scale.data.sources.parquet import ParquetSource
from biggan_scale.data.sources.webdataset import WebdatasetSource, expand_braces
from biggan_scale.data.sources.zip import ZipSource

__all__ = [
    "FORMATS",
    "CifarSource",
    "FolderSource",
    "IdxSource",
    "Listing",
    "LmdbSource",
    "ParquetSource",
    "Sample",
    "Source",
    "WebdatasetSource",
    "ZipSource",
    "label_by_csv",
    "open_source",
]

FORMATS = ("folder", "zip", "idx", "lmdb", "parquet", "cifar", "webdataset")
_KNOWN = "a folder, a zip or an idx3-ubyte file, nor an LMDB, Parquet, a CIFAR archive or webdataset's tar"


def open_source(path: Path | str, format_: str = "auto", subset: str = "train", columns: tuple[str, ...] | None = None) -> Source:
    """The source at a path, or of all files that a glob or a list in braces names.

    Args:
        path: a file or folder; for tars and Parquet also a pattern.
        format_: one of FORMATS, or auto: told by the content.
        subset: train or test, of CIFAR.
        columns: of the image and of the label, in Parquet.

    Raises: ConfigError, DataError.
    """
    where, files = _find(str(path))
    if format_ == "auto":
        format_ = _detect(where, files)
    if format_ == "webdataset":
        return WebdatasetSource(where, _those_in(where, files, "*.tar"))
    if format_ == "parquet":
        return ParquetSource(where, _those_in(where, files, "**/*.parquet"), columns)
    if len(files) != 1:
        raise ConfigError(f"{where}: names {len(files)} files; only webdataset tars and Parquet can be several")
    if format_ == "cifar":
        return CifarSource(files[0], subset)
    kinds: dict[str, type[FolderSource | ZipSource | IdxSource | LmdbSource]]
    kinds = {"folder": FolderSource, "zip": ZipSource, "idx": IdxSource, "lmdb": LmdbSource}
    if format_ not in kinds:
        raise ConfigError(f"{format_!r} is no format of a source; allowed: auto, {', '.join(FORMATS)}")
    return kinds[format_](files[0])


def _find(path: str) -> tuple[Path, list[Path]]:
    """What was named, for messages, and the files it names."""
    where = Path(path)
    if where.exists():
        return where, [where]
    files: list[str] = []
    for pattern in expand_braces(path):
        found = sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else [pattern]
        if not found or not Path(found[0]).exists():
            raise ConfigError(f"{path}: no such source" + (f" ({pattern} is missing)" if pattern != path else ""))
        files += found
    return where, [Path(file) for file in files]


def _those_in(where: Path, files: list[Path], pattern: str) -> list[Path]:
    found = [inner for file in files for inner in (sorted(file.glob(pattern)) if file.is_dir() else [file])]
    if not found:
        raise ConfigError(f"{where}: no {pattern} in it")
    return found


def _detect(where: Path, files: list[Path]) -> str:
    """The format of the first file: patterns name files of one kind."""
    first = files[0]
    if first.is_dir():
        return _detect_folder(first)
    try:
        with open(first, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise ConfigError(f"{first}: {error.strerror}") from error
    if zipfile.is_zipfile(first):
        return "zip"
    if head.startswith(parquet.MAGIC):
        return "parquet"
    if head[16:20] == lmdb.MAGIC:
        return "lmdb"
    if (_decompressed(first) if head.startswith(b"\x1f\x8b") else head).startswith(b"\x00\x00\x08"):
        return "idx"
    kind = _detect_tar(first)
    if kind is None:
        raise DataError(f"{where}: not {_KNOWN}; it begins with {head[:8]!r}")
    return kind


def _detect_folder(folder: Path) -> str:
    names = [path.name for path in folder.iterdir() if path.is_file()]
    if "data.mdb" in names:
        return "lmdb"
    if cifar.is_cifar(names):
        return "cifar"
    if any(name.endswith(".tar") for name in names):
        return "webdataset"
    if next(folder.glob("**/*.parquet"), None):
        return "parquet"
    return "folder"


def _decompressed(path: Path) -> bytes:
    """The beginning of a gzip file's content."""
    try:
        with gzip.open(path) as file:
            return file.read(16)
    except (OSError, EOFError, zlib.error):
        return b""


def _detect_tar(path: Path) -> str | None:
    """webdataset or cifar, if it is a tar."""
    names = []
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                names.append(member.name)
                if cifar.is_cifar(names):
                    return "cifar"
                if len(names) >= 16:
                    break
    except (tarfile.TarError, OSError, EOFError):
        pass
    if not names:
        return None
    try:
        with tarfile.open(path, "r:"):
            return "webdataset"
    except tarfile.TarError:
        raise DataError(f"{path}: a compressed tar, which cannot be read in a random order; decompress it first") from None
