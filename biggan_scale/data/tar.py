"""Walks webdataset tars strictly: a damaged or cut tar is an error here, where stock readers end early without a word.

Used to index tars that others have written, and to verify our own; training never walks a tar.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from biggan_scale.config.errors import DataError
from biggan_scale.data.index import MAX_FILE_BYTES, NO_LABEL

IMAGE_EXTENSIONS = ("png", "jpg", "jpeg", "webp", "npy")
EXECUTED_EXTENSIONS = ("pyd", "pickle", "pkl", "pth", "pt", "joblib", "dill")  # what stock readers unpickle, and so execute


@dataclass(frozen=True)
class TarSample:
    """One sample: the members of a tar that share a key."""

    key: str
    extension: str  # of the image
    offset: int  # of the image's bytes in the tar
    data: bytes
    label: int


def samples(path: Path) -> Iterator[TarSample]:
    """The samples of a tar in order.

    Raises: DataError where the tar is damaged, a name leads out of it, a key comes twice, a member is one that others execute,
    or a sample has not exactly one image and at most one label.
    """
    seen: set[str] = set()
    key = ""
    found: dict[str, tuple[int, bytes]] = {}  # by extension: offset and content
    for name, offset, data in _contents(path):
        member_key, extension = split_name(name)
        if member_key != key:
            if found:
                yield _sample(path, key, found)
            if member_key in seen:
                raise DataError(f"{path}: key {member_key!r} comes twice, with other samples between")
            seen.add(member_key)
            key, found = member_key, {}
        if extension in found:
            raise DataError(f"{path}: member {name!r} comes twice")
        found[extension] = (offset, data)
    if found:
        yield _sample(path, key, found)


def members(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, offset and size of the files of a tar, which must end as tars do.

    Raises: DataError where the tar is damaged or cut, a name is absolute or goes up, or a member is a link, a device or sparse.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.isdir():
                    continue
                if is_unsafe(member.name):
                    raise DataError(f"{path}: unsafe name {member.name!r}; names must be relative and stay inside")
                if not member.isreg() or member.issparse():
                    target = f" to {member.linkname!r}" if member.linkname else ""
                    raise DataError(f"{path}: member {member.name!r} is a {_kind(member)}{target}; only plain files are read")
                yield member.name, member.offset_data, member.size
            end = tar.offset
        with open(path, "rb") as file:
            file.seek(end)
            rest = file.read(2**20)
        if len(rest) < tarfile.BLOCKSIZE or rest.count(0) != len(rest):
            raise DataError(f"{path}: no end of the tar where one should be (at byte {end}); it is damaged or cut")
    except tarfile.TarError as error:
        raise DataError(f"{path}: not a whole, uncompressed tar: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def is_unsafe(name: str) -> bool:
    """Whether a name of an archive would lead out of the directory that it is unpacked in."""
    return name.startswith("/") or "\\" in name or "\0" in name or ".." in PurePosixPath(name).parts


def split_name(name: str) -> tuple[str, str]:
    """webdataset's rule: the key ends, and the extension begins, at the first dot of the file's name."""
    path = PurePosixPath(name)
    stem, _, extension = path.name.partition(".")
    return str(path.with_name(stem)) if stem else name, extension.lower()


def label_of(path: Path, key: str, content: bytes) -> int:
    """The label that a .cls holds. Raises: DataError."""
    text = content[:20].strip()
    if not text.isdigit() or int(text) > 2**31 - 1:
        raise DataError(f"{path}: sample {key!r} has label {text!r}; allowed are whole numbers from 0")
    return int(text)


def _sample(path: Path, key: str, found: dict[str, tuple[int, bytes]]) -> TarSample:
    images = [extension for extension in found if extension in IMAGE_EXTENSIONS]
    if len(images) != 1:
        allowed = ", ".join(IMAGE_EXTENSIONS)
        raise DataError(f"{path}: sample {key!r} has {len(images)} images ({', '.join(found)}); one is needed, of {allowed}")
    for extension in found:
        if extension.rpartition(".")[2] in EXECUTED_EXTENSIONS:
            raise DataError(f"{path}: sample {key!r} has a member .{extension}, which other readers execute; pack it anew without")
    offset, data = found[images[0]]
    label = label_of(path, key, found["cls"][1]) if "cls" in found else NO_LABEL
    return TarSample(key, images[0], offset, data, label)


def _contents(path: Path) -> Iterator[tuple[str, int, bytes]]:
    """Name, offset and content of the files of a tar. What is not ours to read stays empty."""
    descriptor = -1
    try:
        for name, offset, size in members(path):
            content = b""
            if split_name(name)[1] in (*IMAGE_EXTENSIONS, "cls"):
                if size > MAX_FILE_BYTES:
                    raise DataError(f"{path}: member {name!r} has {size} bytes; an image may have {MAX_FILE_BYTES}")
                if descriptor < 0:
                    descriptor = os.open(path, os.O_RDONLY)
                content = os.pread(descriptor, size, offset)
                if len(content) != size:
                    raise DataError(f"{path}: member {name!r} has {len(content)} of {size} bytes; the tar is damaged or cut")
            yield name, offset, content
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _kind(member: tarfile.TarInfo) -> str:
    if member.issym():
        return "symbolic link"
    if member.islnk():
        return "hard link"
    return "sparse file" if member.issparse() else "device"
