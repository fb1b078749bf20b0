"""train on this machine, with as many processes as told

The same page as for a cluster, without one: nothing is queued, progress is on the terminal, Ctrl-C saves and stops. The exit code is that
of `biggan-scale train`, which torchrun would hide.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

from biggan_scale.config import load_config, micro_batches
from launch import options, record


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_arguments(parser)
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N", help="how many, each with a GPU of its own if there are (default: 1)"
    )


def run(args: argparse.Namespace) -> int:
    config = load_config(args.config, args.overrides).config
    micro_batches(config, args.processes)
    train = ["-m", "biggan_scale.cli", "train", args.config, *args.overrides]
    if args.processes == 1:
        os.execv(sys.executable, [sys.executable, *train])
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={args.processes}", "--max-restarts=0"]
    threads = {"OMP_NUM_THREADS": str(max((os.cpu_count() or 1) // args.processes, 1))}
    before = record.state(Path(config.run_dir))
    # a session of its own: Ctrl-C reaches the processes once, from here, and not a second time from the terminal
    process = subprocess.Popen([sys.executable, *torchrun, *train], env=threads | os.environ, start_new_session=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: process.send_signal(signal.SIGTERM))
    code = process.wait()
    after = record.state(Path(config.run_dir))
    verdict = after if after != before and after.get("state") != "running" else {}
    return int(verdict.get("exit_code", code))
