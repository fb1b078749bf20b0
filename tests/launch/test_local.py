"""`biggan-launch local`: a training by processes of this machine, with the exit code that torchrun hides."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.support import command

SMALL = ("log.tensorboard=false", "snapshot.every=1000 rounds", "log.every=1 rounds")


def local(*arguments: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "launch", "local", "tiny", *SMALL, *arguments]
    return subprocess.Popen(words, cwd=command.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def test_two_processes_stopped_save_and_say_so(tmp_path: Path) -> None:
    process = local(f"run_dir={tmp_path}", "until=100000 rounds", "--processes", "2")
    command.wait_until(lambda: len(command.rounds_logged(tmp_path)) >= 2, process)
    process.send_signal(signal.SIGTERM)
    code, stderr = command.finish(process)
    assert code == 75, stderr
    assert command.state_of(tmp_path)["state"] == "preempted"
    assert list(command.manifests(tmp_path))


def test_batch_that_does_not_divide_is_told_before_anything_starts(tmp_path: Path) -> None:
    code, stderr = command.finish(local(f"run_dir={tmp_path}", "--processes", "3"))
    assert (code, stderr) == (2, "biggan-launch local: batch_size 16 is not divisible by 3 ranks; nearest: 15 or 18\n")
