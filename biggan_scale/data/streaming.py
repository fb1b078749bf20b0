"""Plain webdataset tars without an index, read as a stream: `data.path: stream:URL{000..009}.tar`. Statistical.

The tars are drawn with replacement, for ever, by a generator seeded by (seed, rank, first position); stock webdataset walks them,
groups their members into samples and mixes these in a buffer. So, other than with an index: a sample may come twice before
another has come once, and a run that is resumed does not go on in the stream but begins another one, seeded by where it
resumes. The images must have the size the config says.

Of the members only images and `.cls` are read, and decoded by our own decoder; nothing is unpickled, and no URL starts a program.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import queue
import random
import tarfile
import threading
from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from biggan_scale.config.errors import ConfigError, DataError
from biggan_scale.data.bad_samples import BadSamples
from biggan_scale.data.decode import decode
from biggan_scale.data.loader import LoadedBatch
from biggan_scale.data.tar import IMAGE_EXTENSIONS, split_name
from biggan_scale.data.transfer import Permanent, Transfer, Transient, is_url, pause, shown, stream
from biggan_scale.dist.seeds import derive_seed

PREFIX = "stream:"
BUFFER_SAMPLES = 1000  # mixed with each other
BATCHES_AHEAD = 4
MOST_URLS = 10**6
LEFT_OUT = " (sample left out)"


@dataclasses.dataclass(frozen=True)
class Stream:
    """What `stream:` names.

    Args:
        urls: of the tars; paths too.
        height, width, channels: of every image.
        num_classes: labels are below it; 0: they are not read.
        transfer: how patiently the tars are read.
    """

    urls: tuple[str, ...]
    height: int
    width: int
    channels: int
    num_classes: int
    transfer: Transfer

    @property
    def fingerprint(self) -> str:
        """Of the names of the tars: what is in them is not known before they are read."""
        names = "\n".join(url.rpartition("/")[2] for url in self.urls)
        return "stream-" + hashlib.sha256(names.encode()).hexdigest()


def open_stream(pattern: str, height: int, width: int, channels: int, num_classes: int, transfer: Transfer) -> Stream:
    """Args:
    pattern: a URL or path, in which {000..009} stands for several.

    Raises: ConfigError.
    """
    _webdataset()
    from braceexpand import braceexpand  # what webdataset expands by

    try:
        urls = tuple(islice(braceexpand(pattern), MOST_URLS))
    except ValueError as error:
        raise ConfigError(f"data.path {PREFIX}{pattern}: {error}") from error
    for url in urls:
        if not is_url(url) and ":" in url.partition("/")[0]:
            raise ConfigError(f"data.path {PREFIX}{url}: {url.partition(':')[0]}: is not read; give a path, or a URL with ://")
    return Stream(urls, height, width, channels, num_classes, transfer)


class StreamLoader:
    """Has the interface of `Loader`. Reads and decodes in one thread.

    Args:
        stream: the tars.
        seed: of the draws, the mixing and the flips.
        rank: of this process: each draws for itself.
        flip: whether images are mirrored left to right with probability 1/2.
        max_bad_share, bad_told: of the samples, how many may be left out, 0: none; whether they are told.
    """

    def __init__(self, stream: Stream, *, seed: int, rank: int, flip: bool, max_bad_share: float, bad_told: bool = True) -> None:
        self.stream = stream
        self.seed = seed
        self.rank = rank
        self.flip = flip
        self.bad = BadSamples(max_bad_share, told=bad_told)
        self._closed = threading.Event()

    def ranges(self, ranges: Iterable[tuple[int, int]]) -> Iterator[LoadedBatch]:
        """A batch for each range (start, stop) of positions; the stream begins at the first. Raises: DataError."""
        ready: queue.Queue[LoadedBatch | BaseException | None] = queue.Queue(BATCHES_AHEAD)
        threading.Thread(target=self._fill, args=(ready, iter(ranges)), daemon=True, name="stream").start()
        while (batch := ready.get()) is not None:
            if isinstance(batch, BaseException):
                raise batch
            yield batch

    def close(self) -> None:
        """Ends the thread after the batch in hand."""
        self._closed.set()

    def _fill(self, ready: queue.Queue[LoadedBatch | BaseException | None], ranges: Iterator[tuple[int, int]]) -> None:
        last: BaseException | None = None
        try:
            for batch in self._batches(ranges):
                self._put(ready, batch)
                if self._closed.is_set():
                    return
        except BaseException as error:  # told where the batches are taken
            last = error
        self._put(ready, last)

    def _put(self, ready: queue.Queue[LoadedBatch | BaseException | None], item: LoadedBatch | BaseException | None) -> None:
        while not self._closed.is_set():
            try:
                return ready.put(item, timeout=0.2)
            except queue.Full:
                continue

    def _batches(self, ranges: Iterator[tuple[int, int]]) -> Generator[LoadedBatch, None, None]:
        samples: Iterator[tuple[NDArray[np.uint8], int]] | None = None
        for start, stop in ranges:
            samples = samples or self._decoded(start)
            taken = list(islice(samples, stop - start))
            pixels = np.stack([image for image, _ in taken])
            for i in range(len(taken)):
                if self.flip and derive_seed(self.seed, "flip", start + i) % 2:
                    pixels[i] = pixels[i][:, ::-1].copy()
            images = torch.from_numpy(pixels).permute(0, 3, 1, 2)  # (B, H, W, C) -> (B, C, H, W)
            labels = torch.tensor([label for _, label in taken]) if self.stream.num_classes else None
            yield LoadedBatch(images, labels, torch.arange(start, stop))

    def _decoded(self, position: int) -> Generator[tuple[NDArray[np.uint8], int], None, None]:
        """Endless (H, W, C) images and labels. What cannot be used is left out, told and counted."""
        draw = random.Random(derive_seed(self.seed, f"stream {self.rank}", position))
        mixed = _webdataset().filters._shuffle(self._samples(draw), BUFFER_SAMPLES, BUFFER_SAMPLES, rng=draw)
        for sample in mixed:
            try:
                decoded = self._decode(sample)
            except ValueError as error:
                self.bad.count(1, [f"{shown(sample['__url__'])}: {sample['__key__']}: {error}{LEFT_OUT}"])
                continue
            self.bad.count(1, [])
            yield decoded

    def _decode(self, sample: dict[str, Any]) -> tuple[NDArray[np.uint8], int]:
        """Raises: ValueError."""
        images = [extension for extension in IMAGE_EXTENSIONS if extension in sample]
        if len(images) != 1:
            raise ValueError(f"{len(images)} images; one is needed, of {', '.join(IMAGE_EXTENSIONS)}")
        label, num_classes = 0, self.stream.num_classes
        if num_classes:
            text = sample.get("cls", b"").strip()[:20].decode("ascii", "replace")
            if not (text.isdecimal() and int(text) < num_classes):
                raise ValueError(f"label (.cls) is {text!r}; allowed are 0 to {num_classes - 1}")
            label = int(text)
        pixels = np.empty((self.stream.height, self.stream.width, self.stream.channels), np.uint8)
        decode(sample[images[0]], pixels)
        return pixels, label

    def _samples(self, draw: random.Random) -> Generator[dict[str, Any], None, None]:
        """Endless groups of members, tar after tar."""
        tariterators = _webdataset().tariterators
        while True:
            url = draw.choice(self.stream.urls)
            tar = _Tar(url, self.stream.transfer)
            members = tariterators.tar_file_expander([{"url": url, "stream": tar}], select_files=_is_ours)
            is_empty = True
            try:
                for sample in tariterators.group_by_keys(members):
                    is_empty = False
                    yield sample
            except DataError as error:
                raise DataError(error.args[0]) from error  # webdataset adds objects of its own
            except (tarfile.TarError, ValueError, OSError, EOFError) as error:
                raise DataError(f"{shown(url)}: not a whole, uncompressed tar: {error.args[0] if error.args else error}") from error
            tar.must_have_ended()
            if is_empty:
                raise DataError(f"{shown(url)}: no samples in it")


class _Tar(io.RawIOBase):
    """The bytes of one tar, to read once; a connection that breaks is taken up where it broke. Raises: DataError."""

    def __init__(self, url: str, transfer: Transfer) -> None:
        self.url = url
        self.transfer = transfer
        self._blocks = self._read_blocks()
        self._rest = b""
        self._tail = b""  # the last block of the tar, so far
        self._num_read = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Just so many, unless it ends."""
        parts, missing = [], size if size >= 0 else 2**62
        while missing and (self._rest or self._next_block()):
            parts.append(self._rest[:missing])
            self._rest = self._rest[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)

    def must_have_ended(self) -> None:
        """Stock readers take a tar that is cut for one that ends."""
        while self._next_block():
            pass
        if len(self._tail) < tarfile.BLOCKSIZE or any(self._tail):
            raise DataError(f"{shown(self.url)}: no end of the tar after {self._num_read} bytes; it is cut or damaged")

    def _next_block(self) -> bool:
        self._rest = next(self._blocks, b"")
        self._num_read += len(self._rest)
        self._tail = (self._tail + self._rest)[-tarfile.BLOCKSIZE :]
        return bool(self._rest)

    def _read_blocks(self) -> Generator[bytes, None, None]:
        url = self.url if is_url(self.url) else f"file://{self.url}"
        offset = failures = 0
        while True:
            try:
                for block in stream(url, offset, None, self.transfer.timeout_s):
                    offset += len(block)
                    failures = 0
                    yield block
                return
            except Permanent as error:
                raise DataError(f"{shown(self.url)}: {error}") from error
            except Transient as error:
                failures += 1
                if failures == self.transfer.tries:
                    raise DataError(f"{shown(self.url)}: {error} (tried {failures} times)") from error
                pause(failures)


def _is_ours(name: str) -> bool:
    return split_name(name)[1] in (*IMAGE_EXTENSIONS, "cls")


def _webdataset() -> Any:
    """Raises: ConfigError where it is not installed."""
    try:
        import webdataset
        import webdataset.filters
        import webdataset.tariterators
        import webdataset.utils
    except ImportError as error:
        raise ConfigError(f"data.path {PREFIX}...: needs webdataset; `pip install 'biggan_scale[stream]'`") from error
    webdataset.utils.enforce_security = True
    return webdataset
