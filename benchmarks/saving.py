"""What a checkpoint costs the training that goes on beside it, as one JSON object.

    python benchmarks/saving.py
    python benchmarks/saving.py --megabytes 1000 --rounds 7

The same state is saved in turn in the two ways, into the same directory: `stall_s` is how long the training thread is held up, by the
whole save or by the copy alone; `write_s` is the whole save. Medians over the rounds, and their ratio.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from biggan_scale.engine import checkpoint
from biggan_scale.engine.checkpoint import TrainingState
from biggan_scale.engine.saving import Saver


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=300, help="of the state")
    parser.add_argument("--rounds", type=int, default=5, help="saves in each way")
    parser.add_argument("--folder", type=Path, help="where checkpoints are written; a temporary directory by default")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        print(json.dumps(measure(Path(folder), args.megabytes, args.rounds), indent=1))


def measure(folder: Path, megabytes: int, rounds: int) -> dict[str, float | int]:
    """Medians in seconds."""
    saver = Saver(folder, keep=checkpoint.MIN_KEPT, say=lambda line: None)
    saver.save(_state(megabytes, 0), {})  # the first touches memory and disk for the first time
    saver.wait()
    whole, stall, write = [], [], []
    for number in range(rounds):
        state = _state(megabytes, 2 * number + 1)
        began = time.perf_counter()
        saver.save(state, {})
        saver.wait()
        whole.append(time.perf_counter() - began)
        state = _state(megabytes, 2 * number + 2)
        began = time.perf_counter()
        saver.save(state, {})
        stall.append(time.perf_counter() - began)
        saver.wait()
        write.append(time.perf_counter() - began)
    result = {"stall_s synchronous": whole, "stall_s beside": stall, "write_s beside": write}
    medians = {name: round(statistics.median(times), 4) for name, times in result.items()}
    return {"megabytes": megabytes, "rounds": rounds, **medians, "ratio": round(statistics.median(whole) / statistics.median(stall), 1)}


def _state(megabytes: int, nimg: int) -> TrainingState:
    """As a GAN's is split: weights, their average, two moments."""
    generator = torch.Generator().manual_seed(nimg)
    quarter = {f"w{i}": torch.randn(250_000, generator=generator) for i in range(max(megabytes // 4, 1))}
    moments = {f"G/{name}/{moment}": tensor for name, tensor in quarter.items() for moment in ("exp_avg", "exp_avg_sq")}
    return TrainingState(quarter, dict(quarter), {n: t.clone() for n, t in moments.items()}, {"nimg": nimg, "round": nimg})


if __name__ == "__main__":
    main()
