"""write report.html of a run: one page that needs nothing else

State, health, samples, curves, checkpoints, attempts and configuration, of a run in progress as of one that has ended. The run
itself is only read.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from biggan_scale.cli import status, train
from biggan_scale.config import ConfigError, EnvironmentFault, json_lines, load_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="a run directory")
    parser.add_argument("--out", metavar="FILE", type=Path, help="where it goes (default RUN/report.html)")


def run(args: argparse.Namespace) -> int:
    out = args.out or args.run_dir / "report.html"
    try:
        found = status.read(args.run_dir)

        from biggan_scale.export.publish import new_file, probe
        from biggan_scale.report.facts import gather
        from biggan_scale.report.page import page

        text = page(gather(args.run_dir, found, summary(args.run_dir)))
    except OSError as error:
        raise EnvironmentFault(f"{error.filename}: {error.strerror}") from error
    probe(out)
    with new_file(out) as file:
        file.write_text(text)
    print(f"wrote {out}", file=sys.stderr)
    return 0


def summary(run_dir: Path) -> str:
    """The run in a line, with the ranks of its last start; empty where this version cannot read its configuration."""
    starts = [attempt for attempt in json_lines.read(run_dir / "attempts.jsonl") if attempt.get("event") == "start"]
    try:
        return train.summary(load_config(str(run_dir / "config.yaml")), starts[-1]["world"] if starts else 1)
    except ConfigError:
        return ""
