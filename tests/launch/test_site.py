"""What the doctor says of a site's settings."""

from __future__ import annotations

import pytest

from launch import site
from launch.site import GOOD, NOTE


@pytest.mark.parametrize(
    ("mode", "grace_s", "kinds", "words"),
    [
        ("REQUEUE", "120", [GOOD, GOOD], "GraceTime 120 s, in which a preempted run saves"),
        ("REQUEUE", "0", [GOOD, NOTE], "GraceTime=0; a preempted run has KillWait to save"),
        ("CANCEL", "60", [NOTE, GOOD], "PreemptMode=CANCEL; a job that has not saved within GraceTime is ended for good"),
        ("GANG,SUSPEND", "60", [NOTE, GOOD], "PreemptMode=GANG,SUSPEND; a job stands still on its nodes"),
        ("OFF", "0", [GOOD], "its jobs are not preempted"),
    ],
)
def test_each_way_of_preemption_has_its_words(mode: str, grace_s: str, kinds: list[str], words: str) -> None:
    found = list(site.preemption("p", mode, grace_s))
    assert [kind for kind, _ in found] == kinds
    assert any(words in text for _, text in found)


def test_configuration_of_slurm_is_read() -> None:
    text = "Configuration data as of 2026-01-01\nClusterName             = local\nSlurmctldParameters     = (null)\nKillWait = 30 sec\n"
    assert site.config_facts(text) == {"ClusterName": "local", "SlurmctldParameters": "(null)", "KillWait": "30 sec"}
