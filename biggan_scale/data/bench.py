"""How fast a data set loads here, measured through the loader that training uses."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from biggan_scale.data.index import Dataset
from biggan_scale.data.loader import Loader
from biggan_scale.data.order import GlobalOrder

WARM_UP_BATCHES = 4


def time_loading(dataset: Dataset, workers: int, batch: int, seconds: float, flip: bool) -> dict[str, float]:
    """Images per second, and per second of processor time of this process and its workers, over about `seconds`."""
    torch.set_num_threads(1)
    loader = Loader(dataset, GlobalOrder(dataset.shard_sizes), workers=workers, flip=flip, seed=0)
    batches = loader.ranges((start, start + batch) for start in itertools.count(0, batch))
    try:
        for _ in range(WARM_UP_BATCHES):
            next(batches)
        began, cpu_began, num = time.perf_counter(), _cpu_s(), 0
        while time.perf_counter() - began < seconds:
            num += len(next(batches).images)
        wall, cpu = time.perf_counter() - began, _cpu_s() - cpu_began
    finally:
        loader.close()
    return {"workers": workers, "images": num, "img_per_s": num / wall, "img_per_cpu_s": num / cpu}


def _cpu_s() -> float:
    """Processor time of this process and of its children that are alive."""
    return time.process_time() + sum(_cpu_s_of(pid) for pid in _children())


def _children() -> Iterator[int]:
    for task in Path("/proc/self/task").iterdir():
        yield from map(int, (task / "children").read_text().split())


def _cpu_s_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
