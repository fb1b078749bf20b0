"""Bytes from a URL, with bounded patience: a few tries, growing pauses, a time limit on every read.

http(s) goes through the standard library, whose time limit is on each read of the socket; every other scheme (s3, gs, memory,
file, sftp, ...) through fsspec, read block by block. What cannot get better by waiting (not found, forbidden, a login page where a
shard should be) is not tried again. Nothing here outlives a call, so it may be used before and after a fork and from threads.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any, TypeVar

from biggan_scale import __version__
from biggan_scale.config.errors import DataError

T = TypeVar("T")

BLOCK_BYTES = 2**20  # of a socket
BLOCK_BYTES_FSSPEC = 8 * 2**20  # one request each
LEAST_BYTES_PER_S = 1000  # a server that sends a byte now and then is as good as silent
FIRST_PAUSE_S = 1.0  # before the second try
PAUSE_GROWTH = 3.0  # 1 + 3 + 9 + 27 s: five tries outlast the restart of a server
LONGEST_PAUSE_S = 60.0
TRANSIENT_STATUS = (408, 425, 429)  # and all from 500: what servers answer when asking again may help


class Permanent(Exception):
    """A failure that waiting does not mend."""


class NoParts(Permanent):
    """The server cannot begin in the middle, or there is nothing from there on."""


class Transient(Exception):
    """A failure after which trying again may help."""


@dataclass(frozen=True)
class Transfer:
    """How patiently to read.

    Args:
        tries: how often in all.
        timeout_s: the longest a connection, or one read, may take.
    """

    tries: int = 5
    timeout_s: float = 30.0

    def read(self, url: str, start: int = 0, stop: int | None = None, most: int = 2**30) -> bytes:
        """Bytes start, ..., stop - 1 of what is there; all of it, but not more than `most`, without `stop`. Raises: DataError."""

        def once() -> bytes:
            data = bytearray()
            for block in stream(url, start, stop, self.timeout_s):
                data += block
                if len(data) > most:
                    raise Permanent(f"more than {most} bytes, which is more than it can be")
            if stop is not None and len(data) != stop - start:
                raise Transient(f"{len(data)} of {stop - start} bytes came")
            return bytes(data)

        return self.patiently(url, once)

    def patiently(self, url: str, action: Callable[[], T]) -> T:
        """What `action` returns, tried again after every Transient. Raises: DataError naming the URL, the reason and the tries."""
        for done in range(1, self.tries + 1):
            try:
                return action()
            except Permanent as error:
                raise DataError(f"{shown(url)}: {error}{_times(done)}") from error
            except Transient as error:
                if done == self.tries:
                    raise DataError(f"{shown(url)}: {error}{_times(done)}; is the server well, and data.timeout_s long enough?") from error
                pause(done)
        raise AssertionError("no tries")


def pause(failures: int) -> None:
    """After so many failures in a row."""
    time.sleep(min(FIRST_PAUSE_S * PAUSE_GROWTH ** (failures - 1), LONGEST_PAUSE_S))


def is_url(path: str) -> bool:
    return "://" in path


def join(url: str, name: str) -> str:
    """The URL of a file in the directory that `url` names; a query (a token, say) stays at the end."""
    if not _is_http(url):
        return f"{url.rstrip('/')}/{name}"
    parts = urllib.parse.urlsplit(url)
    return parts._replace(path=f"{parts.path.rstrip('/')}/{urllib.parse.quote(name)}").geturl()


def shown(url: str) -> str:
    """The URL for messages: without a password, and without the query, in which secrets travel."""
    if "@" not in url and "?" not in url:
        return url
    scheme, _, rest = url.partition("://")
    place, slash, path = rest.partition("?")[0].partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}"


def stream(url: str, start: int, stop: int | None, timeout_s: float) -> Iterator[bytes]:
    """The bytes from `start` to `stop`, or to the end, in blocks. Raises: Permanent, Transient; both mid-way too."""
    if _is_http(url):
        return _stream_http(url, start, stop, timeout_s)
    return _stream_fsspec(url, start, stop, timeout_s)


def _is_http(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _times(tries: int) -> str:
    return "" if tries == 1 else f" (tried {tries} times)"


# http


def _stream_http(url: str, start: int, stop: int | None, timeout_s: float) -> Generator[bytes]:
    try:
        with closing(_open_http(url, start, stop, timeout_s)) as response:
            expected = response.length  # from Content-Length, None if the server does not say
            came, mark_s, mark = 0, time.monotonic(), 0
            while block := response.read1(BLOCK_BYTES):  # what is there, so that the time limit is on each read
                came += len(block)
                yield block
                if (elapsed_s := time.monotonic() - mark_s) > timeout_s:
                    if came - mark < LEAST_BYTES_PER_S * elapsed_s:
                        raise Transient(f"only {came - mark} bytes in {elapsed_s:.3g} s")
                    mark_s, mark = time.monotonic(), came
            if expected is not None and came < expected:
                raise Transient(f"the connection ended after {came} of {expected} bytes")
    except (OSError, HTTPException) as error:  # time-outs too
        raise Transient(_reason(error, timeout_s)) from error


def _open_http(url: str, start: int, stop: int | None, timeout_s: float) -> HTTPResponse:
    headers = {"User-Agent": f"biggan_scale/{__version__}"}
    ranged = start > 0 or stop is not None
    if ranged:
        headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            raise NoParts(f"it ends before byte {start}") from error
        kind = Transient if error.code in TRANSIENT_STATUS or error.code >= 500 else Permanent
        raise kind(f"the server answers {error.code} {error.reason}") from error
    except ValueError as error:
        raise Permanent(str(error)) from error
    if response.headers.get_content_type() == "text/html":
        response.close()
        raise Permanent("the server sends an HTML page instead of data; does it want a login?")
    if ranged and response.status != 206:
        response.close()
        raise NoParts("the server cannot send parts of a file (no Range); raise data.range_reads_gb above the size of the shards")
    return response


# everything else


def _stream_fsspec(url: str, start: int, stop: int | None, timeout_s: float) -> Generator[bytes]:
    filesystem, path = _filesystem(url)
    try:
        end = _call(filesystem, "info", path, timeout_s=timeout_s)["size"] if stop is None else stop
        if end is None:
            raise Permanent("the store does not tell how large this is")
        while start < end:
            block = _call(filesystem, "cat_file", path, timeout_s=timeout_s, start=start, end=min(start + BLOCK_BYTES_FSSPEC, end))
            if not block:
                return  # shorter than asked for: the caller sees it by the length
            start += len(block)
            yield block
    except FileNotFoundError as error:
        raise Permanent("not found") from error
    except PermissionError as error:
        raise Permanent(f"permission denied: {_reason(error, timeout_s)}") from error
    except (Permanent, Transient, GeneratorExit):
        raise
    except Exception as error:  # every store has errors of its own
        if "credentials" in str(error).lower():
            raise Permanent(_reason(error, timeout_s)) from error
        raise Transient(_reason(error, timeout_s)) from error


def _filesystem(url: str) -> tuple[Any, str]:
    import fsspec  # a tenth of a second

    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise Permanent(f"{error}; `pip install 'biggan_scale[remote]'` brings s3 and gs") from error
    except Exception as error:
        raise Permanent(_reason(error, 0)) from error
    return filesystem, path


def _call(filesystem: Any, method: str, path: str, *, timeout_s: float, **arguments: Any) -> Any:
    """A method of the filesystem, within the time limit where the filesystem can be interrupted (s3, gs and others that are async)."""
    from fsspec.asyn import AsyncFileSystem, sync

    if isinstance(filesystem, AsyncFileSystem):
        return sync(filesystem.loop, getattr(filesystem, f"_{method}"), path, timeout=timeout_s, **arguments)
    return getattr(filesystem, method)(path, **arguments)


def _reason(error: BaseException, timeout_s: float) -> str:
    """One line."""
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    text = (getattr(inner, "strerror", None) or str(inner).strip() or type(inner).__name__).splitlines()[0]
    return text if isinstance(inner, OSError) else f"{type(inner).__name__}: {text}"
