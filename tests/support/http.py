"""A real HTTP server on loopback that serves a directory, and misbehaves as told."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

Fault = Callable[["Handler", bytes], None]  # answers a request whose right answer would be these bytes


class Server:
    """`with Server(directory) as server:`; `server.url` is where it is.

    Attributes:
        requests: how often each name was asked for.
        faults: name, or "*" for all: what to do instead of answering, a request each.
        ranges: whether Range is understood.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.requests: Counter[str] = Counter()
        self.faults: dict[str, list[Fault]] = {}
        self.ranges = True
        self.delay_s = 0.0
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.context = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_port}/data"

    def fail(self, name: str, fault: Fault, times: int = 1) -> None:
        self.faults.setdefault(name, []).extend([fault] * times)

    def fault_for(self, name: str) -> Fault | None:
        with self._lock:
            self.requests[name] += 1
            for key in (name, "*"):
                if self.faults.get(key):
                    return self.faults[key].pop(0)
        return None

    def __enter__(self) -> Server:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Server = self.server.context  # type: ignore[attr-defined]
        name = Path(unquote(urlsplit(self.path).path)).name
        fault = server.fault_for(name)
        path = server.directory / name
        content = path.read_bytes() if path.is_file() else None
        time.sleep(server.delay_s)
        if fault is not None:
            fault(self, content or b"")
        elif content is None:
            self.send_error(404)
        else:
            self.answer(content, ranged=server.ranges)

    def answer(self, content: bytes, ranged: bool = True, kind: str = "application/x-tar") -> None:
        wanted = self.headers.get("Range")
        if ranged and wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), int(last) + 1 if last else len(content)
            if start >= len(content):
                self.send_error(416)
                return
            content, status = content[start:stop], 206
        else:
            status = 200
        self.head(status, len(content), kind)
        self.wfile.write(content)

    def head(self, status: int, length: int, kind: str = "application/x-tar") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def status(code: int) -> Fault:
    return lambda handler, content: handler.send_error(code)


def stall(handler: Handler, content: bytes) -> None:
    """Promises everything, sends half, and falls silent."""
    handler.head(200, len(content))
    handler.wfile.write(content[: len(content) // 2])
    handler.wfile.flush()
    handler.server.context.stopping.wait(20)  # type: ignore[attr-defined]


def trickle(handler: Handler, content: bytes) -> None:
    """A byte now and then: no read ever takes long."""
    handler.head(200, len(content))
    for byte in content:
        if handler.server.context.stopping.wait(0.05):  # type: ignore[attr-defined]
            return
        try:
            handler.wfile.write(bytes([byte]))
        except OSError:
            return


def cut(handler: Handler, content: bytes) -> None:
    """The connection ends half-way."""
    handler.head(200, len(content))
    handler.wfile.write(content[: len(content) // 2])


def shorten(handler: Handler, content: bytes) -> None:
    """Half, and says that this is all."""
    handler.answer(content[: len(content) // 2], ranged=False)


def login_page(handler: Handler, content: bytes) -> None:
    handler.answer(b"<html><body>Please log in</body></html>", ranged=False, kind="text/html; charset=utf-8")


def flip_a_bit(handler: Handler, content: bytes) -> None:
    damaged = bytearray(content)
    damaged[len(damaged) // 2] ^= 1
    handler.answer(bytes(damaged))
