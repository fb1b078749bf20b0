"""Processes that prepare batches, each on a connection of its own.

torch's DataLoader has queues that all workers share: one that is killed may take their locks with it, a death surfaces at any
line of the training code (by SIGCHLD) or after five seconds, and workers that ignore SIGTERM, as these must, hang the end of the
program. Here nothing is shared: a death is an end of file on one connection, noticed at once, and killing a worker is always safe.

The pixels of a batch lie in memory that belongs to no file (memfd), handed over by its descriptor and mapped by both sides:
nothing is copied, and /dev/shm, often tiny in containers, is not used.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import multiprocessing
import os
import signal
import sys
from collections import deque
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from biggan_scale.config.errors import DataError, UserError
from biggan_scale.data.reader import Reader, SampleError
from biggan_scale.dist.parent import die_with_parent
from biggan_scale.dist.seeds import derive_seed

IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)  # sent to a whole job; what they mean is the parent's to decide
MOST_NEIGHBOURS = 16  # tried in place of a bad sample: that many bad ones in a row are a bad shard
# Of a batch in memory, and no more: rows that begin at a multiple of 32 bytes libjpeg-turbo writes past the caches (vmovntdq).
ALIGNMENT = 16
DEATH_S = 10.0  # a process closes its connections shortly before it is gone


class Request(NamedTuple):
    """What has to be known to prepare a batch."""

    start: int  # position of the first sample
    samples: NDArray[np.int64]  # (B, 2) shard and index
    flip_seed: int | None  # None: no image is mirrored


def prepare(reader: Reader, request: Request, pixels: NDArray[np.uint8], doing: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[str]]:
    """Reads and decodes the samples of a batch, and mirrors those whose (seed, position) say so.

    Args:
        reader: of the data set.
        request: the batch.
        pixels: (B, H, W, C), filled.
        doing: (2,), kept at the shard and index of the sample in hand.

    Returns: (B,) the labels; what was wrong with each sample that was replaced.
    Raises: DataError.
    """
    labels = np.empty(len(request.samples), np.int64)
    replaced: list[str] = []
    for i, (shard, index) in enumerate(request.samples.tolist()):
        labels[i] = _read_or_replace(reader, shard, index, pixels[i], doing, replaced)
        if request.flip_seed is not None and derive_seed(request.flip_seed, "flip", request.start + i) % 2:
            image = torch.from_numpy(pixels[i])  # (H, W, C); at 256 px torch flips it in 30 us, numpy in 350
            image.copy_(image.flip(1))
    return labels, replaced


def empty_pixels(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Memory for the pixels of a batch, which at 64 px is filled in a seventh less time than an array of numpy's own."""
    memory = np.empty(math.prod(shape) + 2 * ALIGNMENT, np.uint8)
    start = (ALIGNMENT - memory.ctypes.data) % (2 * ALIGNMENT)
    return memory[start : start + math.prod(shape)].reshape(shape)


def _read_or_replace(reader: Reader, shard: int, index: int, out: NDArray[np.uint8], doing: NDArray[np.int64], replaced: list[str]) -> int:
    """Fills `out` with a sample or, if it is bad, the next good one of its shard; returns the label of what it is."""
    doing[0], doing[1] = shard, index
    try:
        return reader.read_pixels(shard, index, out)
    except SampleError as error:
        problem = str(error)
    num_samples = reader.dataset.shards[shard].num_samples
    num_neighbours = min(MOST_NEIGHBOURS, num_samples - 1)
    for step in range(1, num_neighbours + 1):
        doing[1] = neighbour = (index + step) % num_samples
        with contextlib.suppress(SampleError):
            label = reader.read_pixels(shard, neighbour, out)
            replaced.append(f"{problem} (sample {neighbour} was taken instead)")
            return label
    raise DataError(f"{problem}; nor is any of the {num_neighbours} samples after it good")


class Worker:
    """One process; it answers requests in the order in which they were sent, and dies with the thread that started it.

    One that is killed is started again with what it has not answered. Killed twice without an answer in between, it is given up.

    Args:
        number: for messages.
        reader: of the data set.
    """

    def __init__(self, number: int, reader: Reader) -> None:
        self.number = number
        self._reader = reader
        self._doing = np.frombuffer(mmap.mmap(-1, 16), np.int64)  # shared; outlives the worker, to tell what it died of
        self._unanswered: deque[Request] = deque()
        self._revived = False  # since the last answer
        self._start()

    def _start(self) -> None:
        self._doing[:] = -1
        context = multiprocessing.get_context("fork")  # spawn would load torch again: seconds, and 200 MB a worker
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._reader, self._doing, os.getpid()), daemon=True)
        self._process.start()
        theirs.close()  # now the worker alone holds it, and its death closes it

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def send(self, request: Request) -> None:
        self._unanswered.append(request)
        try:
            self._connection.send(request)
        except OSError as error:
            self._revive(error)

    def receive(self) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
        """Pixels and labels of the oldest request, and what was wrong with each sample that was replaced.

        Raises: DataError, also when the worker has died again.
        """
        while True:
            try:
                answer = self._connection.recv()
                if isinstance(answer, UserError):
                    raise answer
                descriptor = recv_handle(self._connection)
                break
            except (OSError, EOFError) as error:
                self._revive(error)
        self._unanswered.popleft()
        self._revived = False
        shape, labels, replaced = answer
        try:
            return _map(descriptor, shape), labels, replaced
        finally:
            os.close(descriptor)

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _revive(self, error: Exception) -> None:
        """After an error on the connection: start the process again, or raise what it died of."""
        death = self._death(error)
        if self._revived or not isinstance(death, DataError):
            raise death from error
        print(f"{death}; started again", file=sys.stderr, flush=True)
        self._revived = True
        self._connection.close()
        self._start()
        with contextlib.suppress(OSError):  # killed again: whoever waits for an answer will hear of it
            for request in self._unanswered:
                self._connection.send(request)

    def _death(self, error: Exception) -> Exception:
        """What to say of an error on the connection: the end of the worker, as a rule."""
        self._process.join(timeout=DEATH_S)
        if self._process.exitcode is None:
            return error
        shard, index = self._doing.tolist()
        place = self._reader.where(shard, index) if shard >= 0 else "its first sample"
        code = self._process.exitcode
        if code >= 0:
            return RuntimeError(f"data worker {self.number} failed at {place}; its traceback is above")
        hint = "memory may have run out, try fewer data.workers" if -code == signal.SIGKILL else "try again without this sample"
        return DataError(f"data worker {self.number} (pid {self.pid}) was killed by {signal.Signals(-code).name} at {place}; {hint}")


def _serve(connection: Connection, reader: Reader, doing: NDArray[np.int64], parent: int) -> None:
    """The life of a worker, which ends by a signal or with its parent."""
    die_with_parent(parent)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)  # the thread pool did not survive the fork
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        shape = (len(request.samples), reader.dataset.height, reader.dataset.width, reader.dataset.channels)
        descriptor = os.memfd_create("batch")
        os.ftruncate(descriptor, ALIGNMENT + math.prod(shape))
        try:
            labels, replaced = prepare(reader, request, _map(descriptor, shape), doing)
        except UserError as error:
            connection.send(error)
        else:
            connection.send((shape, labels, replaced))
            send_handle(connection, descriptor, parent)
        os.close(descriptor)


def _map(descriptor: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A file's memory as an array, for as long as the array is in use."""
    return np.frombuffer(mmap.mmap(descriptor, ALIGNMENT + math.prod(shape)), np.uint8, offset=ALIGNMENT).reshape(shape)
