"""`biggan-scale train`: everything round the engine. Starts or resumes, and does what is due between rounds.

The order of a pass: fetch, agree (has any rank a reason to stop?), play the round, then what is due by the clock. All decisions
are the same on every rank, because they follow from the clock or have been agreed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from signal import Signals

import torch
from torch import Tensor

from biggan_scale import __version__
from biggan_scale.config import Duration, Loaded, RunConfig, micro_batches
from biggan_scale.config.errors import DoNotRequeue, EnvironmentFault, Preempted, UserError
from biggan_scale.data.index import Dataset
from biggan_scale.data.pixels import save_png
from biggan_scale.data.streaming import Stream
from biggan_scale.dist import process_group
from biggan_scale.engine import checkpoint, machine, snapshot, standing
from biggan_scale.engine.agreement import check_ranks_agree
from biggan_scale.engine.best import best_evaluated
from biggan_scale.engine.checkpoint import TrainingState
from biggan_scale.engine.feed import Feed, first_images, open_checked
from biggan_scale.engine.health.watch import Health
from biggan_scale.engine.log import Log, round_to
from biggan_scale.engine.loop import Engine
from biggan_scale.engine.resume import check_same_data, check_same_experiment
from biggan_scale.engine.run_dir import RunDir, now
from biggan_scale.engine.saving import Saver
from biggan_scale.engine.signals import StopFlag
from biggan_scale.engine.stragglers import Stragglers
from biggan_scale.engine.watchdog import Watchdog
from biggan_scale.games.base import Batch

STARTS_WITHOUT_PROGRESS = 3  # that fail without getting further than any before: another would too
SUSPECT_AFTER = 2  # failed starts from one checkpoint
COMPILERS = ("torch._dynamo.", "torch._inductor.")  # modules of errors of torch.compile
ROUNDS_CHECKED = 2  # after every start, that many rounds are followed by a comparison of the ranks' weights


def train(loaded: Loaded) -> int:
    """Run or resume the training that `loaded` describes, and return 0. Any other end is an error of config/errors.py."""
    ranks = process_group.start()  # a signal that comes before all ranks have met ends this one at once: there is nobody to agree with
    with StopFlag() as stop, ExitStack() as stack:
        stack.callback(process_group.stop)
        Run(loaded, ranks, stop).go(stack)
    return 0


class Run:
    """One attempt at a run: the engine, its data, and on rank 0 the run directory, the log and the checkpoints."""

    dataset: Dataset | Stream
    engine: Engine
    feed: Feed
    watchdog: Watchdog
    stragglers: Stragglers

    def __init__(self, loaded: Loaded, ranks: process_group.Ranks, stop: StopFlag) -> None:
        self.loaded = loaded
        self.config: RunConfig = loaded.config
        self.ranks = ranks
        self.stop = stop
        self.began = self.saved_at = time.monotonic()
        self.run_dir: RunDir | None = None
        self.log: Log | None = None
        self.shown: Tensor | None = None  # real images to reconstruct at snapshots
        self.saver: Saver | None = None
        self.opened = ExitStack()  # what is opened at a place in the data, and anew after a roll-back
        self.health: Health | None = None
        self.nimg = 0  # where the run stands, as its files tell
        self.rounds_played = 0  # since this start
        self.saved_nimg: int | None = None
        self.drawn_nimg: int | None = None  # of the last snapshot

    def go(self, stack: ExitStack) -> None:
        """Start or resume, and play until the end, a signal or an error; leave the verdict in state.json."""
        process_group.on_main(lambda: self._take_run_dir(stack))
        try:
            per_rank, _ = micro_batches(self.config, self.ranks.world)
            with machine.faults_told(Path(self.config.run_dir), f"try a micro_batch below {per_rank}: batch_size stays"):
                self._prepare(stack)
                process_group.on_main(self._announce)
                self._loop()
        except (Preempted, DoNotRequeue) as stopped:
            self._verdict_of(stopped)
            raise
        except BaseException as met:
            error = self._failed_save(met) or met
            fault = error if isinstance(error, UserError) else None
            code = fault.exit_code if fault else 1
            reason = self._lost_ranks(error) or f"{type(error).__name__}: {error}"
            try:
                self._verdict("failed", reason, requeue=fault is None, exit_code=code)
            except EnvironmentFault as second:  # the disk that was full still is: the first error is the one to tell
                self._say(str(second))
            if error is not met:
                raise error from met
            raise
        self._say(f"complete at {self.engine.clock.nimg / 1000:.3f} kimg")
        self._verdict("complete", "")

    def _loop(self) -> None:
        pending: list[dict[str, Tensor]] = []  # the stats of the rounds since the last record
        while True:
            batches, signal, time_up = self._fetch_agreed()
            self.watchdog.at(f"round {self.engine.clock.round}")
            if signal is not None or time_up or self._reached_end():
                break
            before = self.engine.clock.nimg
            pending.append(self._played(batches))
            if self.health is not None:
                self.health.watch(pending[-1])
            self.rounds_played += 1
            self.nimg = nimg = self.engine.clock.nimg
            if self.rounds_played <= ROUNDS_CHECKED:
                check_ranks_agree(self.engine.game, f"after round {self.engine.clock.round}")
            if self.engine.bad_rounds and self._judge_bad_round():
                pending = []
                continue
            if self.config.health.every is not None and self._due(self.config.health.every, before) and self._judge_health():
                pending = []
                continue
            if self._due(self.config.log.every, before):
                self._record(pending)
                pending = []
            elif self.log is not None:
                self.log.progress(nimg)
            if self._due(self.config.snapshot.every, before):
                self._snapshot()
            if self._due(self.config.checkpoint.every, before):
                self._save()
        if pending:
            self._record(pending)
        if signal is None:
            self._snapshot()
        self._save()
        process_group.on_main(self._wait_for_save)
        if signal is not None:
            raise Preempted(f"{signal.name}: saved at {self.engine.clock.nimg / 1000:.3f} kimg; run the same command again to go on")

    # agreement

    def _fetch_agreed(self) -> tuple[list[list[Batch]], Signals | None, bool]:
        """The coming round's batches, and what the ranks agree on before they play it: a signal, the end of the time given."""
        batches: list[list[Batch]] = []
        failure: UserError | None = None
        self.watchdog.at(f"round {self.engine.clock.round}, waiting for data")
        try:
            if self.saver is not None:
                self.saver.check()
            batches = [] if self._reached_end() else self.feed.next_round()
        except UserError as error:
            failure = error
        self.watchdog.at(f"round {self.engine.clock.round}, waiting for the other ranks")
        limit = self.config.until.seconds()
        time_up = limit is not None and time.monotonic() - self.began >= limit
        failed_rank, code, signal, time_up_anywhere = process_group.agree_max(
            [self.ranks.rank + 1 if failure else 0, failure.exit_code if failure else 0, int(self.stop.received or 0), int(time_up)]
        )
        if failure is not None:
            raise failure
        if failed_rank:
            other = process_group.elsewhere(UserError(f"rank {failed_rank - 1} failed"))
            other.exit_code = code
            raise other
        return batches, Signals(signal) if signal else None, bool(time_up_anywhere)

    def _reached_end(self) -> bool:
        end = self.config.until.images(self.engine.images_per_round)
        return end is not None and self.engine.clock.nimg >= end

    def _due(self, every: Duration, before: int) -> bool:
        """Has the clock just passed a multiple of `every`? For times, rank 0's watch decides."""
        seconds = every.seconds()
        if seconds is not None:
            return bool(process_group.from_main(time.monotonic() - self.saved_at >= seconds))
        step = every.images(self.engine.images_per_round) or 1
        return self.engine.clock.nimg // step > before // step

    def _played(self, batches: list[list[Batch]]) -> dict[str, Tensor]:
        """A round. Raises: Preempted."""
        try:
            return self.engine.round(batches)
        except Exception as error:
            if self.stop.received is not None and type(error).__module__.startswith(COMPILERS):  # Ctrl-C reaches the C++ compiler, too
                raise self._unfinished(self.stop.received) from error
            raise

    def _at(self, place: str) -> None:
        """A round has got to a move. The first one may compile for minutes: as nothing has been played yet that would be lost, a signal
        is not made to wait for its end."""
        self.watchdog.at(place)
        if self.rounds_played == 0 and (signal := self.stop.agreed()) is not None:
            raise self._unfinished(signal)

    def _unfinished(self, signal: Signals) -> Preempted:
        saved = "nothing was saved before" if self.saved_nimg is None else f"saved before at {self.saved_nimg / 1000:.3f} kimg"
        return Preempted(f"{signal.name}: left round {self.engine.clock.round} unfinished, {saved}; run the same command again to go on")

    # what is due

    def _record(self, pending: list[dict[str, Tensor]]) -> None:
        num_bad = process_group.sum_over_ranks(self.feed.num_bad)
        skew, slow = self.stragglers.since_last(len(pending))
        process_group.on_main(lambda: self._write_record(pending, num_bad, skew, slow))

    def _write_record(self, pending: list[dict[str, Tensor]], num_bad: int, skew: float, slow: str) -> None:
        assert self.log is not None
        if slow:
            self._say(slow)
        names = sorted({name for stats in pending for name in stats})
        values = {name: _mean([stats[name] for stats in pending if name in stats]) for name in names}
        images = self.engine.images_per_round
        values |= {f"{player}/lr": o.config.lr.at(self.engine.clock.nimg, images) for player, o in self.engine.optimizers.items()}
        values["data/bad_samples"] = float(num_bad)  # since this start
        if self.ranks.world > 1:
            values["ranks/skew"] = round_to(skew, 3)
        values |= self.health.unlogged() if self.health is not None else {}
        self.log.write(self.engine.clock.nimg, self.engine.clock.round, values)
        self._verdict("running", "")

    def _snapshot(self) -> None:
        if self.drawn_nimg == self.engine.clock.nimg:  # it was due in the last round
            return
        process_group.on_main(self._draw)
        self.drawn_nimg = self.engine.clock.nimg

    def _draw(self) -> None:
        assert self.run_dir is not None and self.log is not None
        self.watchdog.at("drawing samples")
        game, device, dtype = self.engine.game, self.ranks.device, self.engine.precision.dtype
        check = self.stop.check_here
        try:
            with self.engine.ema.applied(), standing.made(game, self.config, device, dtype, check):
                sheets = {"samples": snapshot.sheet(game, self.config.snapshot, self.config.seed, device, dtype, check)}
                if "E" in game.averaged() and isinstance(self.dataset, Dataset):
                    columns = self.config.snapshot.columns
                    sheets["reconstructions"] = snapshot.reconstructions(game, self._shown_images(), columns, check)
        except Preempted:
            self._say("a signal came: the sheet of samples of this moment is left out")
            return
        name = checkpoint.directory_name(self.engine.clock.nimg)
        for kind, pixels in sheets.items():
            picture = BytesIO()
            save_png(pixels, picture)
            file = f"{name}.png" if kind == "samples" else f"{name}-{kind}.png"
            self.run_dir.write_bytes(self.run_dir.samples / file, picture.getvalue())
            self.log.image(kind, pixels, self.engine.clock.nimg)

    def _shown_images(self) -> Tensor:
        """The real images that are reconstructed at every snapshot, in [-1, 1]."""
        if self.shown is None:
            assert isinstance(self.dataset, Dataset), "a stream has no first images"
            pixels = first_images(self.config, self.dataset, snapshot.ROWS // 2 * self.config.snapshot.columns)
            self.shown = pixels.to(self.ranks.device, self.engine.precision.dtype).div_(127.5).sub_(1)
        return self.shown

    def _save(self) -> None:
        if self.saved_nimg == self.engine.clock.nimg:
            return
        state = self.engine.state_dict()
        process_group.on_main(lambda: self._save_on_main(state))
        self.saved_at, self.saved_nimg = time.monotonic(), self.engine.clock.nimg

    def _save_on_main(self, state: TrainingState) -> None:
        assert self.run_dir is not None
        crossed = [] if self.health is None else self.health.crossed
        about = {
            "time": now(),
            "version": __version__,
            "torch": torch.__version__,
            "world": self.ranks.world,
            "data_fingerprint": self.dataset.fingerprint,
            "config": self.loaded.tree,
            "healthy": self.engine.bad_rounds == 0 and not crossed,
            "health": {"nimg": self.health and self.health.measured_nimg, "crossed": crossed},
        }
        assert self.saver is not None
        self.saver.save(state, about)
        if not self.config.checkpoint.asynchronous:
            self.saver.wait()

    def _failed_save(self, error: BaseException) -> EnvironmentFault | None:
        """Where a disk is full, small files may meet it first; what a save on its way has met tells more."""
        if not isinstance(error, EnvironmentFault):
            return None
        try:
            self._wait_for_save()
        except EnvironmentFault as cause:
            return cause
        return None

    def _wait_for_save(self) -> None:
        if self.saver is not None:
            self.saver.wait()

    def _judge_bad_round(self) -> bool:
        """Whether there were so many in a row that the run has been rolled back."""
        limit = self.config.max_bad_rounds
        self._say(f"round {self.engine.clock.round - 1}: {self.engine.trouble} ({self.engine.bad_rounds} of {limit} in a row)")
        if self.engine.bad_rounds < limit:
            return False
        self._roll_back(f"{limit} rounds in a row were not finite")
        return True

    def _roll_back(self, reason: str) -> None:
        """Go on from the last healthy checkpoint with fresh noise, or give up. What was saved since is set aside."""
        engine, allowed = self.engine, self.config.max_rollbacks
        rollbacks, where = engine.rollbacks + 1, f"diverged at {engine.clock.nimg / 1000:.3f} kimg: {reason}"
        if rollbacks > allowed:
            raise DoNotRequeue(f"{where}; given up after {allowed} roll-back{'s' * (allowed != 1)} (max_rollbacks)")
        path = process_group.on_main(self._last_healthy)
        if path is None:
            raise DoNotRequeue(f"{where}; there is no healthy checkpoint to roll back to")
        engine.load_state_dict(checkpoint.load(path))
        engine.renew_noise(rollbacks)
        self.nimg = self.saved_nimg = engine.clock.nimg
        self.drawn_nimg = None
        self._open()
        if self.health is not None:
            self.health.rewind()
        self._say(f"{where}; rolled back to {path.name} with fresh noise ({rollbacks} of {allowed})")

    def _last_healthy(self) -> Path | None:
        assert self.run_dir is not None
        self._wait_for_save()
        path = checkpoint.last_healthy(self.run_dir.checkpoints)
        if path is not None:
            for newer in checkpoint.checkpoints(self.run_dir.checkpoints):
                if newer.name > path.name:
                    checkpoint.set_aside(newer)
        return path

    def _judge_health(self) -> bool:
        """Rank 0 measures, the others wait for its word. Whether there was an alarm for which the run has been rolled back."""
        reason = process_group.on_main(lambda: self.health.measure() if self.health is not None else None)
        if reason is None or not self.config.health.roll_back:
            return False
        self._roll_back(reason)
        return True

    # start and end

    def _take_run_dir(self, stack: ExitStack) -> None:
        self.run_dir = RunDir(self.config.run_dir)
        stack.callback(self.run_dir.close)
        self.nimg = self.run_dir.last_nimg()
        checkpoint.sweep(self.run_dir.checkpoints)

    def _prepare(self, stack: ExitStack) -> None:
        process_group.on_main(lambda: open_checked(self.config) and None)  # one rank looks (and packs) first, all hear of a problem
        self.dataset = open_checked(self.config)
        self.engine = Engine(self.config, self.ranks.device)
        self.saved_nimg = self._resume()
        self.nimg = self.engine.clock.nimg
        process_group.on_main(self._check_progress)
        stack.enter_context(self.opened)
        self._open()
        self.stragglers = Stragglers(self.config.watchdog.straggler)
        limit = self.config.watchdog.limit.seconds()
        assert limit is not None
        self.watchdog = stack.enter_context(Watchdog(limit, self.ranks, Path(self.config.run_dir) / "stacks", self._hung))
        self.engine.tell = self._at
        process_group.on_main(self._start_health)
        if self.run_dir is not None:
            self.saver = Saver(self.run_dir.checkpoints, self.config.checkpoint.keep, self._say, self._best)
            stack.callback(self.saver.close)

    def _best(self) -> list[Path]:
        assert self.run_dir is not None
        best = best_evaluated(self.run_dir.path)
        return [] if best is None else [best]

    def _open(self) -> None:
        """The data and the log, from where the engine stands."""
        self.opened.close()
        self.feed = self.opened.enter_context(Feed(self.config, self.dataset, self.engine))
        if self.run_dir is not None:
            until = self.config.until.images(self.engine.images_per_round)
            self.log = self.opened.enter_context(Log(self.run_dir.path, self.nimg, until, tensorboard=self.config.log.tensorboard))

    def _start_health(self) -> None:
        assert self.run_dir is not None
        if self.config.health.every is not None:
            self.health = Health(self.engine, self.dataset, self.run_dir, self._say)

    def _check_progress(self) -> None:
        """A run that always fails at the same place is not tried for ever."""
        assert self.run_dir is not None
        if self.run_dir.failed_starts(self.nimg) >= STARTS_WITHOUT_PROGRESS:
            raise DoNotRequeue(
                f"{STARTS_WITHOUT_PROGRESS} starts without progress have failed, now at {self.nimg / 1000:.3f} kimg "
                f"(see {self.run_dir.path}/attempts.jsonl); "
                "mend the cause and remove that file to try again"
            )

    def _resume(self) -> int | None:
        """Continue from the newest valid checkpoint; its moment, or None where there is none."""
        path = process_group.on_main(self._find_checkpoint)
        if path is None:
            return None
        self.engine.load_state_dict(checkpoint.load(path))
        return self.engine.clock.nimg

    def _find_checkpoint(self) -> Path | None:
        assert self.run_dir is not None
        path = checkpoint.newest_valid(self.run_dir.checkpoints, self._say)
        if path is not None and self.run_dir.failed_starts(checkpoint.manifest_of(path)["nimg"]) == SUSPECT_AFTER:
            path = self._one_before(path)
        if path is not None:
            manifest = checkpoint.manifest_of(path)
            check_same_experiment(manifest["config"], json.loads(json.dumps(self.loaded.tree)), self.config.run_dir)
            check_same_data(manifest["data_fingerprint"], self.dataset.fingerprint, self.config.data.path, path.name)
        self.run_dir.write_text("config.yaml", self.loaded.to_yaml(origins=True))
        return path

    def _one_before(self, suspect: Path) -> Path:
        """The bytes of a checkpoint may be right and its numbers not: after two crashes the one before has a try, if there is one."""
        assert self.run_dir is not None
        found = checkpoint.checkpoints(self.run_dir.checkpoints)
        older = [path for path in found if path.name < suspect.name and checkpoint.problem_of(path) is None]
        if not older:
            return suspect
        self._say(f"{suspect}: the last {SUSPECT_AFTER} starts from it failed; set aside, trying {older[0].name}")
        checkpoint.set_aside(suspect)
        return older[0]

    def _announce(self) -> None:
        assert self.run_dir is not None
        nimg, world = self.engine.clock.nimg, self.ranks.world
        verb = f"resumed at {nimg / 1000:.3f} kimg" if nimg else "started"
        parameters = ", ".join(
            f"{player} {sum(p.numel() for p in o.parameters.values()):,}" for player, o in self.engine.optimizers.items()
        )
        self._say(f"{verb} in {self.run_dir.path}: {world} rank{'s' * (world > 1)} on {self.ranks.device.type}, parameters {parameters}")
        if not (self.run_dir.path / "run.json").exists():
            self.run_dir.write_json("run.json", {"began": now(), "version": __version__, "data_fingerprint": self.dataset.fingerprint})
        self.run_dir.append_attempt(event="start", nimg=nimg, world=world, pid=os.getpid())
        self._verdict("running", "")

    def _verdict_of(self, stopped: Preempted | DoNotRequeue) -> None:
        """All ranks stop in good order. None leaves before it is written down: a launcher may end the others with the first."""
        preempted = isinstance(stopped, Preempted)
        state, code = "preempted" if preempted else "failed", stopped.exit_code
        process_group.on_main(lambda: self._verdict(state, str(stopped), requeue=preempted, exit_code=code))

    def _lost_ranks(self, error: BaseException) -> str:
        """Whose death made a collective fail; says so. Empty if this error is another."""
        if self.ranks.world == 1 or not isinstance(error, RuntimeError) or not hasattr(self, "watchdog"):
            return ""
        lost = self.watchdog.lost()
        if not lost:
            return ""
        reason = f"{', '.join(f'rank {rank}' for rank in lost)} lost in round {self.engine.clock.round}"
        print(f"rank {self.ranks.rank}: {reason}", file=sys.stderr, flush=True)
        return reason

    def _hung(self, reason: str) -> None:
        self._verdict("failed", reason, requeue=True, exit_code=1)

    def _verdict(self, state: str, reason: str, *, requeue: bool = False, exit_code: int = 0) -> None:
        if self.run_dir is None:
            return
        self.run_dir.set_state(state, nimg=self.nimg, reason=reason, requeue=requeue, exit_code=exit_code)
        if state != "running":
            self.run_dir.append_attempt(event="end", nimg=self.nimg, state=state, reason=reason, exit_code=exit_code)

    def _say(self, message: str) -> None:
        if self.log is not None:
            self.log.say(message)
        elif self.ranks.is_main:
            print(message, file=sys.stderr, flush=True)


def _mean(values: list[Tensor]) -> float:
    return round_to(float(torch.stack(values).double().mean()), 7)
