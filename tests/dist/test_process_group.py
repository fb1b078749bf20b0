"""Joining the other ranks, where that is not possible."""

from __future__ import annotations

import socket

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
