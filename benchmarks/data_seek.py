"""What it costs to start in the middle of a very large data set, as one JSON object.

    python benchmarks/data_seek.py
    python benchmarks/data_seek.py --samples 1e9 --shards 1e5 --position 5e8

Measured: from the sizes of the shards to the shard and index of the batch at the position, in a process that has done nothing
like it before; then the next batches, within the window and into the next one. `peak_mb` is all that was allocated meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import tracemalloc
from typing import Any

import numpy as np

from biggan_scale import __version__
from biggan_scale.data.order import GlobalOrder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=float, default=1e9)
    parser.add_argument("--shards", type=float, default=1e5)
    parser.add_argument("--position", type=float, default=5e8)
    parser.add_argument("--window", type=int, default=16)
    parser.add_argument("--batch", type=int, default=256)
    args = parser.parse_args()
    print(json.dumps(measure(int(args.samples), int(args.shards), int(args.position), args.window, args.batch), indent=1))
    return 0


def measure(num_samples: int, num_shards: int, position: int, window: int, batch: int) -> dict[str, Any]:
    """Everything that is printed."""
    sizes = uneven_sizes(num_samples, num_shards)
    began, cpu_began = time.perf_counter(), time.process_time()
    order = GlobalOrder(sizes, seed=0, window=window)
    order.positions(position, position + batch)
    seek_s, seek_cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    within = _median_s(order, position + batch, batch)  # in the same window, if it is not the window's last batch
    _, stop = order.window_at(position)
    began = time.perf_counter()
    order.positions(stop, stop + batch)
    window_s = time.perf_counter() - began
    tracemalloc.start()  # apart from the timing, which it slows
    GlobalOrder(sizes, seed=0, window=window).positions(position, position + batch)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "seek_ms": round(seek_s * 1e3, 3),
        "seek_cpu_ms": round(seek_cpu_s * 1e3, 3),
        "next_batch_ms": round(within * 1e3, 4),
        "next_window_ms": round(window_s * 1e3, 3),
        "peak_mb": round((peak + sizes.nbytes) / 1e6, 2),
        "samples": num_samples,
        "shards": num_shards,
        "position": position,
        "window": window,
        "batch": batch,
        "machine": {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 2)},
        "versions": {"biggan_scale": __version__, "numpy": np.__version__, "python": platform.python_version()},
    }


def uneven_sizes(num_samples: int, num_shards: int) -> np.ndarray:
    """(num_shards,) within 10 % of the mean, with exactly that many samples in all."""
    mean = num_samples // num_shards
    sizes = np.random.default_rng(0).integers(mean - mean // 10, mean + mean // 10 + 1, num_shards)
    sizes[-1] += num_samples - sizes.sum()
    if sizes[-1] < 0:
        sizes[:] = mean
        sizes[-1] += num_samples - sizes.sum()
    return sizes


def _median_s(order: GlobalOrder, start: int, batch: int) -> float:
    times = []
    for number in range(20):
        began = time.perf_counter()
        order.positions(start + number * batch, start + (number + 1) * batch)
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]


if __name__ == "__main__":
    raise SystemExit(main())
