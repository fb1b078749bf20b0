"""submit a run to Slurm

The configuration is checked here, for the number of ranks, and where slurm.device is set for its memory, before anything is queued. The run
directory keeps what was submitted: the resolved configuration, a snapshot of the code, the script. Submitted again, the run goes on from
its newest checkpoint.
"""

from __future__ import annotations

import argparse
import json

from launch import fit, job, options, record, submission


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_arguments(parser)
    options.add_backend(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the batch script and queue nothing; it runs: ... --dry-run | sbatch")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    planned = job.plan(args.config, args.overrides, args.backend)
    job.refuse_second(planned.run_dir)  # a dry run too: it writes what the job of this run would be requeued with
    fits = fit.told([planned])
    if not (args.dry_run or args.json):
        print("\n".join([planned.summary(), *fits]), flush=True)
    taken = job.write(planned)
    if args.dry_run:
        print(job.script(planned, taken.path), end="")
        return 0
    record.ask_again(planned.run_dir)  # before the job can begin
    id = submission.queue(planned)
    job.record_submission(planned, id, taken)
    if args.json:
        print(json.dumps({"job": id, "run_dir": str(planned.run_dir)}))
    else:
        print(f"job {id}: {planned.run_dir}\nwatch it with: biggan-launch logs -f {planned.run_dir}")
    return 0
