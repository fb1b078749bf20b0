"""The command `biggan-scale`: one file a command. Nothing here loads torch; commands that need it import it in `run`.

How a command begins and ends is config/command.py's. Here is what is particular to processes that have a rank.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from biggan_scale.cli import evaluate, export, import_, plan, project, report, sample, status, train
from biggan_scale.config import command
from biggan_scale.config.errors import DoNotRequeue, Preempted, UserError

COMMANDS = {
    "plan": plan,
    "train": train,
    "status": status,
    "report": report,
    "sample": sample,
    "project": project,
    "evaluate": evaluate,
    "export": export,
    "import": import_,
}
STOPPED_IN_GOOD_ORDER = (Preempted.exit_code, DoNotRequeue.exit_code)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    code = PROGRAM.main(argv)
    if argv is None and _rank():
        _leave(code)
    return code


def _leave(code: int) -> NoReturn:
    """Ends a process that is one of several, as it is: everything of ours is closed. Threads of torch's and of the watchdog's that are
    inside of C++ when the interpreter takes itself down end it by an abort, which a launcher takes for a failure."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _tell(error: UserError, who: str) -> int:
    """Says what is wrong, on the rank where it is."""
    code = command.tell(error, who, _rank())
    # torchrun starts its workers again after any code but 0; state.json in the run directory has the verdict
    under_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    return 0 if under_torchrun and code in STOPPED_IN_GOOD_ORDER else code


def _rank() -> str:
    """Who speaks, where there are several: torchrun's words for it, or Slurm's."""
    for rank, world in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")):
        if os.environ.get(world, "1") != "1":
            return f"rank {os.environ.get(rank, '?')}: "
    return ""


PROGRAM = command.Program(
    "biggan-scale",
    "Train, resume, sample and export large class-conditional GANs.",
    COMMANDS,
    "biggan-scale COMMAND --help tells the rest.",
    noun="command",
    tell=_tell,
)
