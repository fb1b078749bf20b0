"""What the run says: a line for people, a record for programs and TensorBoard, from the same numbers.

Only rank 0 has one. `metrics.jsonl` holds every step once, whatever the restarts: what lies beyond the resumed moment is cut off.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from biggan_scale.config import json_lines
from biggan_scale.engine import machine

# What a record says of the machine. The rest follows from the config and the images seen, and is the same after a resume.
OF_THE_MACHINE = ("img_per_s", "ranks/skew")


class Log:
    """Args:
    folder: the run directory.
    nimg: the moment the run begins or resumes at.
    until_nimg: where it ends, or None where it ends by the clock on the wall.
    tensorboard: also write event files.
    """

    def __init__(self, folder: Path, nimg: int, until_nimg: int | None, *, tensorboard: bool) -> None:
        self._until = until_nimg
        self._metrics = folder / "metrics.jsonl"
        _drop_after(self._metrics, nimg)
        self._text = (folder / "log.txt").open("a", buffering=1)
        self._board = _summary_writer(folder, nimg) if tensorboard else None
        self._mark = (time.monotonic(), nimg)
        self._on_line = False

    def __enter__(self) -> Log:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end_line()
        with suppress(OSError):  # what is left unwritten by a full disk: the run may be ending because of it
            self._text.close()
        with suppress(OSError):
            if self._board is not None:
                self._board.close()

    def say(self, message: str) -> None:
        """A line for people, on stderr and in log.txt."""
        self._end_line()
        print(message, file=sys.stderr, flush=True)
        with suppress(OSError):  # a full disk has been told on stderr, or will be by what cannot do without it
            self._text.write(f"{time.strftime('%H:%M:%S')} {message}\n")

    def progress(self, nimg: int) -> None:
        """A moving line on a terminal; nothing elsewhere."""
        if sys.stderr.isatty():
            speed = self._speed(nimg)
            print(f"\r{self._position(nimg)}  {speed:.1f} img/s  {self._eta(nimg, speed)}   ", end="", file=sys.stderr, flush=True)
            self._on_line = True

    def write(self, nimg: int, round: int, values: Mapping[str, float]) -> None:
        """One record of the interval since the last."""
        speed = self._speed(nimg)
        self._mark = (time.monotonic(), nimg)
        record: dict[str, Any] = {"nimg": nimg, "kimg": nimg / 1000, "round": round}
        record |= {name: value if math.isfinite(value) else None for name, value in values.items()}
        record["img_per_s"] = round_to(speed, 4)
        with machine.writing(self._metrics, len(json_lines.line(record))):
            json_lines.append(self._metrics, record)
        if self._board is not None:
            with machine.writing(self._metrics.with_name("events.*")):
                for name, value in record.items():
                    if isinstance(value, float):
                        self._board.add_scalar(name, value, nimg)
        losses = "  ".join(f"{name} {value:.4f}" for name, value in values.items() if name.endswith("/loss"))
        self.say(f"{self._position(nimg)}  round {round}  {losses}  {speed:.1f} img/s  {self._eta(nimg, speed)}")

    def image(self, name: str, pixels: Tensor, nimg: int) -> None:
        """(C, H, W) uint8 to TensorBoard."""
        if self._board is not None:
            with machine.writing(self._metrics.with_name("events.*")):
                self._board.add_image(name, pixels, nimg)

    def _speed(self, nimg: int) -> float:
        since, before = self._mark
        return (nimg - before) / max(time.monotonic() - since, 1e-9)

    def _position(self, nimg: int) -> str:
        return f"{nimg / 1000:.3f} kimg" if self._until is None else f"{nimg / 1000:.3f} of {self._until / 1000:.3f} kimg"

    def _eta(self, nimg: int, speed: float) -> str:
        if self._until is None or speed <= 0:
            return ""
        seconds = int(max(self._until - nimg, 0) / speed)
        return f"ETA {seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"

    def _end_line(self) -> None:
        if self._on_line:
            print(file=sys.stderr)
            self._on_line = False


def round_to(value: float, digits: int) -> float:
    """To this many significant digits."""
    return float(f"{value:.{digits}g}")


def _summary_writer(folder: Path, nimg: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter  # slow to import

    return SummaryWriter(str(folder), purge_step=nimg + 1)


def _drop_after(path: Path, nimg: int) -> None:
    """Cut records beyond `nimg`, and lines that a death left half-written or that are damaged."""
    kept = [record for record in json_lines.read(path) if isinstance(record.get("nimg"), int) and record["nimg"] <= nimg]
    text = "".join(f"{json.dumps(record)}\n" for record in kept)
    if path.exists() and path.read_bytes() != text.encode():
        temporary = path.with_name(f".{path.name}")
        with machine.writing(path, len(text)):
            temporary.write_text(text)
            temporary.replace(path)
