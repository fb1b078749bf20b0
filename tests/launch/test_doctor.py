"""What the doctor says of what the nodes answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launch import doctor

HEALTHY: dict[str, Any] = {
    "host": "n1",
    "shared": True,
    "resolves": "10.0.0.1",
    "reaches": True,
    "asks_slurm": True,
    "signals": ["SIGTERM", "SIGUSR2"],
    "torch": "2.9",
}


@pytest.fixture(autouse=True)
def torch_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda package: "2.9")


def test_healthy_nodes_are_in_order() -> None:
    findings = list(doctor.judge([HEALTHY, HEALTHY | {"host": "n2"}], 2, Path("run")))
    assert {kind for kind, _ in findings} == {doctor.GOOD}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"shared": False}, "does not see run: choose a folder that all nodes share"),
        ({"resolves": ""}, "cannot resolve the first node's name"),
        ({"reaches": False}, "cannot reach the first node's port"),
        ({"torch": ""}, "has no torch in its Python"),
        ({"torch": "2.6"}, "has torch 2.6, here it is 2.9"),
        ({"asks_slurm": False}, "cannot ask Slurm (scontrol)"),
        ({"signals": []}, "got no SIGUSR2 and no SIGTERM: something between Slurm and Python keeps signals to itself"),
        ({"signals": ["SIGTERM"]}, "got no SIGUSR2: "),
    ],
)
def test_each_fault_has_its_words(answer: dict[str, Any], words: str) -> None:
    findings = list(doctor.judge([HEALTHY | answer], 1, Path("run")))
    assert [text for kind, text in findings if kind == doctor.BAD and words in text]


def test_a_silent_node_is_missed() -> None:
    assert (doctor.BAD, "1 of 2 nodes answered") in doctor.judge([HEALTHY], 2, Path("run"))
