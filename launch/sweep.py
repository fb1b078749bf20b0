"""submit a run for each point of a grid, as one array

`--grid seed=0,1 --grid optim.G.lr=1e-4,2e-4` is four runs, in RUN_DIR/000 to 003, of which `--array-limit` run at a time. Each is a run as
any other: it is preempted, requeued and counted by itself. `biggan-launch status RUN_DIR` is the table of results; stop, cancel and
requeue take RUN_DIR for all of them, or one.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from biggan_scale.config import load_config
from biggan_scale.config.errors import ConfigError
from launch import fit, job, options, record, render, submission


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_arguments(parser)
    parser.add_argument(
        "--grid", metavar="key=a,b", action="append", required=True, help="the values of a setting; given again, of another"
    )
    options.add_backend(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the batch script and queue nothing")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    folder = Path(load_config(args.config, args.overrides).config.run_dir).absolute()
    points = list(grid(args.grid))
    if len(points) < 2:
        raise ConfigError(f"--grid {args.grid[0]} is one point; a sweep has two or more, biggan-launch submit takes one")
    jobs = [
        job.plan(args.config, [*args.overrides, *point, f"run_dir={folder / f'{index:03d}'}"], args.backend)
        for index, point in enumerate(points)
    ]
    for planned in jobs:
        job.refuse_second(planned.run_dir)
    fit.told(jobs)
    taken = job.write_code(folder)
    for planned in jobs:
        job.write_config(planned)
    record.write_sweep(folder, {planned.run_dir.name: point for planned, point in zip(jobs, points, strict=True)})
    asked = render.directives(jobs[0].config, args.backend, folder / "logs", array=len(jobs)) | {"job-name": folder.name}
    script = record.folder(folder) / "job.sh"
    script.write_text(render.script(asked, render.body(jobs[0].config, args.backend, taken.path, render.element_of(folder))))
    if args.dry_run:
        print(script.read_text(), end="")
        return 0
    for planned in jobs:
        record.ask_again(planned.run_dir)  # before the first can begin
    id = submission.queue_array(script, jobs, asked)
    for index, planned in enumerate(jobs):
        job.record_submission(planned, f"{id}_{index}", taken)
    if args.json:
        print(json.dumps({"job": id, "run_dir": str(folder), "runs": len(jobs)}))
    else:
        print(f"job {id}: {len(jobs)} runs in {folder}\nwatch them with: biggan-launch status {folder}")
    return 0


def grid(axes: Sequence[str]) -> Iterator[list[str]]:
    """Every point, as settings. The first axis changes slowest.

    Raises:
        ConfigError: an axis is not key=a,b, or of a setting that an array has once.
    """
    settings = []
    for axis in axes:
        key, equals, values = axis.partition("=")
        if not equals or not all(values.split(",")):
            raise ConfigError(f"--grid {axis!r} is not key=a,b, like seed=0,1")
        if key == "run_dir" or key.startswith("slurm."):
            raise ConfigError(f"--grid {axis!r}: {key} is the same for all runs of a sweep; biggan-launch submit takes runs one by one")
        settings.append([f"{key}={value}" for value in values.split(",")])
    return (list(point) for point in itertools.product(*settings))
