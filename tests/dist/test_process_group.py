"""Joining the other ranks, where that is not possible."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from biggan_scale.config.errors import EnvironmentFault
from biggan_scale.dist import process_group


def test_a_port_that_is_taken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(EnvironmentFault, match=rf"^rank 0 of 2 cannot join the process group at 127\.0\.0\.1:{port}: .*") as caught:
            process_group.start()
    assert "\n" not in str(caught.value)
    assert process_group.world() == 1


RESTARTED = """
import os, sys, time
from biggan_scale.dist import process_group
again = os.environ["TORCHELASTIC_RESTART_COUNT"] == "1"
if again and os.environ["RANK"] == "0":
    time.sleep(6)  # the other looks for this one's address before it is there
ranks = process_group.start()
total = process_group.sum_over_ranks(ranks.rank + 1)
if again:
    os.write(1, f"rank {ranks.rank} sum {total}\\n".encode())
process_group.stop()
sys.exit(0 if again else ranks.rank)
"""


def test_restarted_workers_do_not_look_for_dead_ones(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(RESTARTED)
    agent = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    done = subprocess.run([*agent, str(tmp_path / "worker.py")], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["rank 0 sum 3", "rank 1 sum 3"]
