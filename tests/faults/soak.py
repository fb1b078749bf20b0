"""Minutes of random faults on small runs, and what must hold after each of them. One JSON object at the end.

    make soak                              # ten minutes
    python tests/faults/soak.py --minutes 30 --seed 7

A run of one or two ranks is started again and again, and each time something is done to it: a signal to a rank, kill -9 of one or all,
a full or failing disk in a save, a bug, too little memory, a rank that hangs, images that are no numbers, a data worker that dies,
damage to its newest checkpoint between two starts. When it is through, the next one begins. Exit code 1 and the story of the run if
something does not hold:

    - nothing is lost: the newest valid checkpoint is never older than it was, but for one that has been damaged
    - no directory has a checkpoint's name that is not whole, but for the damaged one
    - the exit code is one that the fault may have, and a code that is the machine's or the user's comes with a line, not with a traceback
    - what is kept is bounded, every record is logged once, and the end has the state_sha256 of a run that nothing happened to, but for the
      rounds that were skipped because of their images: then that of a run that never had them
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from biggan_scale.config import json_lines
from biggan_scale.data.packaged import open_dataset
from biggan_scale.engine import checkpoint
from faults.forked import Attempt
from faults.toys import IMAGES, ROUNDS, page
from support.command import manifests, rounds_logged

KEEP = 3
MAX_STARTS = 60  # of one run
BUG, MACHINE, STOPPED, GIVEN_UP, INTERRUPTED, KILLED = 1, 5, 75, 93, 130, -9
# fault -> the exit codes that a rank which is met by it, or hears of it, may end with; a run may be through before it comes
ORDERS = {
    "kill at round {round}": {0, BUG, KILLED},
    "kill at fsync {fsync} on rank 0": {0, BUG, KILLED},
    "kill at rename {rename} on rank 0": {0, BUG, KILLED},
    "ENOSPC at fsync {fsync} on rank 0": {0, BUG, MACHINE},
    "EIO at fsync {fsync} on rank 0": {0, BUG, MACHINE},
    "ENOSPC at rename {rename} on rank 0": {0, BUG, MACHINE},
    "crash at round {round}": {0, BUG},
    "memory at round {round}": {0, BUG, MACHINE},
    "nan at round {early}": {0},
    "worker at round {round}": {0},
    "TERM at round {round} on rank {rank}": {0, STOPPED},
    "USR2 at fsync {fsync} on rank 0": {0, STOPPED},
    "TERM+USR2+INT at round {round}": {0, STOPPED},
    "hang at round {round} on rank {rank}": {0, BUG, KILLED},
    "stop at round {round} on rank {rank}": {0, BUG, KILLED},
}
BETWEEN = ("flip", "cut", "delete", "leftovers")
OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)


class Broken(Exception):
    """Something does not hold."""


@dataclass
class Story:
    """One run, from its first start to its end."""

    run_dir: Path
    images: Path
    ranks: int
    chance: random.Random
    lines: list[str] = field(default_factory=list)
    newest: int = 0  # images of the newest valid checkpoint
    damaged: int = 0

    @property
    def folder(self) -> Path:
        return self.run_dir / "checkpoints"

    def valid(self) -> list[Path]:
        return [path for path in checkpoint.checkpoints(self.folder) if checkpoint.problem_of(path) is None]

    def harm_between(self) -> str:
        """Do something to the files of a run that is not running."""
        whole = self.valid()
        what = self.chance.choice(BETWEEN)
        if what == "leftovers":
            (self.folder / ".tmp_000000009.999-kimg_1").mkdir(exist_ok=True)
            (self.folder / ".del_000000000.001-kimg").mkdir(exist_ok=True)
        elif len(whole) < 2:
            return "nothing"
        else:
            path = whole[0] / self.chance.choice([*checkpoint.STATE_FILES, checkpoint.MANIFEST])
            content = path.read_bytes()
            at = self.chance.randrange(len(content))
            if what == "delete":
                path.unlink()
            else:
                path.write_bytes(content[:at] if what == "cut" else content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            self.newest = checkpoint.manifest_of(whole[1])["nimg"]
        return what

    def start(self) -> tuple[str, bool]:
        """One start with one fault; the fault, and whether the run is through."""
        fault = self.chance.choice([*ORDERS, *OUTSIDE, ""])
        allowed = (
            {0}
            if fault == ""
            else ORDERS.get(str(fault), {0, BUG, MACHINE, STOPPED, INTERRUPTED, KILLED, -int(fault)} if isinstance(fault, int) else set())
        )
        allowed |= {KILLED} if fault and self.ranks > 1 else set()  # by us: see `wait`
        places = {"round": self.chance.randrange(ROUNDS), "fsync": self.chance.randint(1, 40), "rename": self.chance.randint(1, 8)}
        places["early"] = min(places["round"], ROUNDS - 2)  # the last state remembers that the round before was bad
        text = str(fault).format(**places, rank=self.chance.randrange(self.ranks)) if isinstance(fault, str) else ""
        workers = 1 if "worker" in text else 0
        arguments = (*page(self.run_dir, self.images), "watchdog.limit=4 s", f"data.workers={workers}")
        attempt = Attempt(*arguments, ranks=self.ranks, faults=text)
        if isinstance(fault, int):
            rank = self.chance.randrange(self.ranks)
            attempt.processes[rank].join(self.chance.expovariate(2))
            attempt.signal(fault, rank)
        name = text or (f"SIG{fault}" if fault else "nothing")
        self.lines.append(f"start with {name}")
        stopped = "stop" in text or "hang" in text
        self.wait(attempt, stopped)
        codes = attempt.codes()
        self.lines.append(f"  ended with {codes}")
        if not set(codes) <= allowed | ({GIVEN_UP} if fault in ("crash at round {round}",) else set()):
            raise Broken(f"{name}: exit codes {codes}, allowed are {sorted(allowed)}: {attempt.said()}")
        if MACHINE in codes and "Traceback" in attempt.said() and self.ranks == 1:
            raise Broken(f"{name}: a traceback for what is the machine's: {attempt.said()}")
        if "worker" in text and "Traceback" in attempt.said():
            raise Broken(f"{name}: {attempt.said()}")
        self.check(name)
        return name.split(" at ")[0], codes[0] == 0

    def wait(self, attempt: Attempt, stopped: bool) -> None:
        """Until all have ended. As a launcher does, kill those that do not end with the others; and one that is stopped and alone."""
        deadline, first_end = time.monotonic() + 120, None
        while living := [process for process in attempt.processes if process.is_alive()]:
            now = time.monotonic()
            first_end = first_end or (now if len(living) < self.ranks else None)
            if first_end is not None and now - first_end > (0 if stopped else 20):
                break
            if stopped and self.ranks == 1 and self.is_stopped(living[0].pid):
                break
            if now > deadline:
                attempt.kill()
                raise Broken(f"still there after two minutes: {attempt.said()}")
            time.sleep(0.02)
        attempt.kill()

    def is_stopped(self, pid: int | None) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        except OSError:
            return False

    def check(self, name: str) -> None:
        whole = self.valid()
        newest = checkpoint.manifest_of(whole[0])["nimg"] if whole else 0
        if newest < self.newest:
            raise Broken(f"{name}: {newest} images are safe, {self.newest} were")
        self.newest = newest
        broken = [path.name for path in checkpoint.checkpoints(self.folder) if path not in whole]
        if len(broken) > 1:
            raise Broken(f"{name}: {broken} are not whole")
        if len(whole) > KEEP + 1:
            raise Broken(f"{name}: {len(whole)} are kept")

    def end(self) -> str:
        if rounds_logged(self.run_dir) != list(range(1, ROUNDS + 1)):
            raise Broken(f"logged are {rounds_logged(self.run_dir)}")
        return manifests(self.run_dir)[ROUNDS * IMAGES]["state_sha256"]

    def skipped(self) -> tuple[int, ...]:
        """The rounds of this history, counted from 0, that have no losses."""
        return tuple(record["round"] - 1 for record in json_lines.read(self.run_dir / "metrics.jsonl") if "D/loss" not in record)


class Undisturbed:
    """What the ends of runs are that nothing happens to, but that some rounds are skipped."""

    def __init__(self, folder: Path, images: Path) -> None:
        self.folder, self.images = folder, images
        self.known: dict[tuple[int, tuple[int, ...]], str] = {}

    def end(self, ranks: int, skipped: tuple[int, ...] = ()) -> str:
        if (ranks, skipped) not in self.known:
            run_dir = self.folder / f"undisturbed{len(self.known)}"
            attempt = Attempt(*page(run_dir, self.images), ranks=ranks, faults=";".join(f"skip at round {number}" for number in skipped))
            assert set(attempt.wait()) == {0}, attempt.said()
            self.known[ranks, skipped] = manifests(run_dir)[ROUNDS * IMAGES]["state_sha256"]
        return self.known[ranks, skipped]


def soak(minutes: float, seed: int) -> dict[str, object]:
    """Raises Broken with the story."""
    chance, counts, began = random.Random(seed), Counter[str](), time.monotonic()
    images = open_dataset("packaged:emoji64", resolution=8, channels=3).path
    runs = starts = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        undisturbed = Undisturbed(folder, images)
        while time.monotonic() - began < 60 * minutes:
            runs += 1
            story = Story(folder / f"run{runs}", images, chance.choice((1, 1, 2)), chance)
            try:
                starts += one_run(story, counts)
                if story.end() != undisturbed.end(story.ranks, story.skipped()):
                    raise Broken(f"the end is not that of a run that nothing happened to, but for the skipped rounds {story.skipped()}")
            except Broken as error:
                raise Broken(f"run {runs} of seed {seed}, {story.ranks} ranks: {error}\n" + "\n".join(story.lines)) from error
            shutil.rmtree(story.run_dir)
    return {"minutes": round((time.monotonic() - began) / 60, 2), "seed": seed, "runs": runs, "starts": starts, "faults": dict(counts)}


def one_run(story: Story, counts: Counter[str]) -> int:
    """Faults until it is through; how many starts that took."""
    for number in range(MAX_STARTS):
        if number and story.chance.random() < 0.25:
            harm = story.harm_between()
            counts[harm] += 1
            story.lines.append(f"between: {harm}")
        if (story.run_dir / "attempts.jsonl").exists():
            with (story.run_dir / "attempts.jsonl").open("a") as file:  # a person has looked: bugs on order are not counted
                file.write('{"event": "asked"}\n')
        fault, through = story.start()
        counts[fault] += 1
        if through:
            return number + 1
    raise Broken(f"not through after {MAX_STARTS} starts")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    try:
        print(json.dumps(soak(args.minutes, args.seed), indent=1))
    except Broken as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
