"""The soak, for half a minute; `make soak` is longer."""

from __future__ import annotations

import pytest

from faults.soak import soak


@pytest.mark.slow  # half a minute, and the last run to its end
@pytest.mark.timeout(900)
def test_random_faults_break_no_promise() -> None:
    told = soak(minutes=0.5, seed=0)
    print(told)
    assert told["runs"] and told["starts"]
