"""kill -9 at any moment, inside saves too: nothing is lost beyond the newest checkpoint, and the end is that of a run left alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from biggan_scale.engine import checkpoint
from faults.forked import Attempt
from faults.toys import IMAGES, ROUNDS, page
from support.command import manifests, rounds_logged, state_of

FSYNCS = 7 * ROUNDS // 2  # that a run makes if nothing happens to it
END = ROUNDS * IMAGES


@pytest.fixture(scope="session")
def undisturbed(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], str]:
    """ranks -> state_sha256 of the end of a run that nothing happens to."""
    known: dict[int, str] = {}

    def digest(ranks: int) -> str:
        if ranks not in known:
            run_dir = tmp_path_factory.mktemp("undisturbed") / "run"
            attempt = Attempt(*page(run_dir, images), ranks=ranks)
            assert set(attempt.wait()) == {0}, attempt.said()
            known[ranks] = manifests(run_dir)[END]["state_sha256"]
        return known[ranks]

    return digest


class Victim:
    """A run that is killed again and again, and what is looked at each time."""

    def __init__(self, run_dir: Path, images: Path, ranks: int, chance: random.Random) -> None:
        self.arguments = page(run_dir, images)
        self.run_dir, self.ranks, self.chance = run_dir, ranks, chance
        self.kills = self.in_saves = 0
        self.newest = 0  # images

    def kill_once(self) -> bool:
        """Start it and kill every rank, one of them first: inside a save, or at some moment. Whether it had ended before."""
        first = self.chance.randrange(self.ranks)
        inside = self.chance.random() < 0.4
        faults = f"kill at fsync {self.chance.randint(1, 21)} on rank 0" if inside else ""
        attempt = Attempt(*self.arguments, ranks=self.ranks, faults=faults)
        if inside:
            attempt.processes[0].join()
        else:
            attempt.processes[first].join(self.chance.expovariate(1 / 0.4))
        ended = attempt.processes[0].exitcode == 0
        attempt.signal(9, first)
        attempt.kill()
        assert all(code in (0, -9) for code in attempt.codes()), (attempt.codes(), attempt.said())
        if not ended:
            self.kills += 1
            self.in_saves += bool(list((self.run_dir / "checkpoints").glob(".tmp_*")))
        self.nothing_is_lost()
        return ended

    def nothing_is_lost(self) -> None:
        found = checkpoint.checkpoints(self.run_dir / "checkpoints")
        assert all(checkpoint.problem_of(path) is None for path in found)  # none that is not whole has its name
        newest = max((checkpoint.manifest_of(path)["nimg"] for path in found), default=0)
        assert newest >= self.newest
        self.newest = newest

    def finish(self) -> str:
        """The digest of its end."""
        attempt = Attempt(*self.arguments, ranks=self.ranks)
        assert set(attempt.wait()) == {0}, attempt.said()
        assert not self.newest or "resumed at" in attempt.said()
        assert rounds_logged(self.run_dir) == list(range(1, ROUNDS + 1))
        assert state_of(self.run_dir)["state"] == "complete"
        assert not list((self.run_dir / "checkpoints").glob(".*"))
        return manifests(self.run_dir)[END]["state_sha256"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("ranks", "kills", "in_saves"),
    [(1, 8, 2), (2, 3, 1), pytest.param(1, 100, 20, marks=pytest.mark.slow), pytest.param(2, 30, 10, marks=pytest.mark.slow)],
)
def test_kills_cost_nothing_but_time(
    undisturbed: Callable[[int], str], images: Path, tmp_path: Path, ranks: int, kills: int, in_saves: int
) -> None:
    chance, victims = random.Random(ranks), []
    while sum(v.kills for v in victims) < kills or sum(v.in_saves for v in victims) < in_saves:
        victim = Victim(tmp_path / str(len(victims)) / "run", images, ranks, chance)
        victims.append(victim)
        while not victim.kill_once() and sum(v.kills for v in victims) < kills:
            pass
        assert victim.finish() == undisturbed(ranks)
    counts = sum(v.kills for v in victims), sum(v.in_saves for v in victims)
    print(f"{ranks} ranks: {counts[0]} kills, {counts[1]} inside a save, {len(victims)} runs, none lost anything")
