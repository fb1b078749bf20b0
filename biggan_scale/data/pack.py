"""Packs a source into shards: every image converted, all shuffled once, and the same bytes out whatever the number of workers.

Workers convert chunks of samples; one writer takes the chunks in order and fills shard after shard. `dataset.json` comes last,
so a directory without it is not a data set yet; until then the journal says how far the pack is, and by it a pack that was killed
goes on. Part k of n packs the k-th n-th of the shuffled samples into shards of its own; `merge` makes one data set of all parts.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from biggan_scale.config.errors import ConfigError, DataError, EnvironmentFault
from biggan_scale.data.convert import Conversion, Converted, convert, is_grey, open_image
from biggan_scale.data.index import DATASET_FILE, Dataset, Shard, file_sha256, write_atomically
from biggan_scale.data.journal import Entry, Journal, read_journal
from biggan_scale.data.order import permutation
from biggan_scale.data.shard_writer import Members, ShardWriter, members_of
from biggan_scale.data.sources import Listing, Sample, Source, label_by_csv
from biggan_scale.dist.parent import die_with_parent

REPORT_FILE = "report.jsonl"
CHUNK = 64  # samples per task: large enough to hide a task's overhead of some 0.5 ms
HEADERS_READ = 64  # images looked at to choose the number of channels
UNLIMITED = 2**62


@dataclass(frozen=True)
class PackOptions:
    """What a pack makes of its source.

    Args:
        resolution: (height, width), or None: that of the source, whose images must then all have the same.
        channels: 1, 3, 4 (with alpha), or None: 1 where the source is grey, else 3.
        encode: png, jpeg, webp (lossless), raw or keep.
        quality: of jpeg.
        use_labels: whether the source's labels are kept.
        seed: of the shuffle.
        shard_bytes, shard_samples: upper limits of a shard.
        max_pixels: a larger source image is refused before it is decoded.
        on_error: stop at the first sample that cannot be packed, or leave it out and report it.
        crop: center, wide, adm or none (convert.py).
        filter: lanczos, box or bicubic.
        labels_csv: labels to take instead of the source's.
        part: (k, n): the k-th of n parts, from 1.
    """

    resolution: tuple[int, int] | None = None
    channels: int | None = None
    encode: str = "png"
    quality: int = 95
    use_labels: bool = True
    seed: int = 0
    shard_bytes: int = 128 * 10**6
    shard_samples: int = 2**20
    max_pixels: int = 64 * 10**6
    on_error: str = "stop"
    crop: str = "center"
    filter: str = "lanczos"
    labels_csv: Path | None = None
    part: tuple[int, int] = (1, 1)

    @property
    def is_whole(self) -> bool:
        return self.part[1] == 1


@dataclass(frozen=True)
class Packed:
    """What has been packed, and what about it a person should know. `dataset` is that of the part alone, where it is one."""

    dataset: Dataset
    num_skipped: int
    num_upscaled: int
    num_ignored: int
    num_resumed: int = 0  # of its samples, those that an earlier run had packed


class _Task(NamedTuple):
    """One sample to convert."""

    name: str
    key: str
    label: int


_Made = tuple[Members, bool]  # a sample that was converted, and whether it was enlarged


def pack(
    source: Source,
    out: Path,
    options: PackOptions,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
    resume: bool = False,
) -> Packed:
    """Writes a data set, or a part of one.

    Args:
        source: where the images come from.
        out: a directory that is empty or does not exist yet; or holds other parts; or, to resume, an unfinished pack.
        options: what to make of them.
        workers: processes that convert; 0 converts in this one.
        progress: called with the number of samples done and their total.
        resume: go on where an earlier run with the same source and options was stopped, or begin.

    Raises: DataError, ConfigError, EnvironmentFault.
    """
    check(options)
    listing = _list(source, options)
    samples = [listing.samples[i] for i in permutation(len(listing.samples), options.seed)]
    keys = unique_keys(samples)
    tasks = [_Task(sample.name, key, sample.label) for sample, key in zip(samples, keys, strict=True)]
    number, num_parts = options.part
    first, last = len(tasks) * (number - 1) // num_parts, len(tasks) * number // num_parts
    if first == last:
        raise ConfigError(f"part {number}/{num_parts}: nothing to pack in it; there are only {len(tasks)} images")
    _make_directory(out, options, resume)
    scratch = out / f".scratch-{number}-of-{num_parts}"
    try:
        journal = Journal(out / journal_name(options))
        try:
            _make_empty(scratch)
            source.prepare(list(dict.fromkeys(task.name for task in (*tasks[:HEADERS_READ], *tasks[first:last]))), scratch)
            conversion = _choose_conversion(source, samples, options)
            _begin_or_compare(journal, _header(listing, conversion, options, source), out)
            part = _Part(source, out, listing, tasks[first:last], conversion, options, journal)
            return part.pack(workers, progress)
        finally:
            journal.close()
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise EnvironmentFault(f"{error.filename or out}: {error.strerror}; nothing has been published") from error


def merge(out: Path) -> Packed:
    """Makes one data set of the parts that were packed into a directory. Raises: DataError, ConfigError."""
    if (out / DATASET_FILE).exists():
        raise ConfigError(f"{out}: is a data set already; there is nothing to merge")
    journals = sorted(out.glob("pack-*-of-*.jsonl"))
    if not journals:
        raise ConfigError(f"{out}: no parts in it; make them with `biggan-data pack --part K/N`")
    parts = {}
    num_parts = 0
    for path in journals:
        header, entries = read_journal(path)
        if not header:
            raise DataError(f"{path}: is empty; pack this part again with --resume")
        number, num_parts = header["part"]
        parts[number] = (path, header, entries)
    if missing := [str(number) for number in range(1, num_parts + 1) if number not in parts]:
        raise DataError(f"{out}: part {', '.join(missing)} of {num_parts} is missing; pack it with --part {missing[0]}/{num_parts}")
    _, first_header, _ = parts[1]
    for number, (path, header, entries) in sorted(parts.items()):
        if {**header, "part": None} != {**first_header, "part": None}:
            raise DataError(f"{path}: was packed from another source or with other options than {parts[1][0].name}")
        if not entries or not entries[-1].is_last:
            raise DataError(f"{path}: part {number} of {num_parts} is not finished; run it again with --resume")
    all_entries = [entry for _, (_, _, entries) in sorted(parts.items()) for entry in entries]
    dataset = _publish(out, first_header["dataset"], all_entries, out / REPORT_FILE)
    return _summary(dataset, all_entries, first_header["num_ignored"])


def check(options: PackOptions) -> None:
    """Raises: ConfigError where options contradict each other."""
    if options.resolution is None and options.crop != "center":
        raise ConfigError(f"--crop {options.crop} needs a size; say which with --resolution")
    if options.resolution is not None:
        height, width = options.resolution
        if options.crop == "adm" and height != width:
            raise ConfigError(f"--crop adm makes squares; --resolution {width}x{height} is none")
        if options.crop == "wide" and width < height:
            raise ConfigError(f"--crop wide is for images wider than high; --resolution {width}x{height} is not")
    if options.crop == "adm" and options.filter != "lanczos":
        raise ConfigError("--crop adm has filters of its own; leave --filter out")
    if options.encode == "jpeg" and options.channels == 4:
        raise ConfigError("--encode jpeg has no alpha; take png, webp or raw, or --channels 3")
    if options.labels_csv is not None and not options.use_labels:
        raise ConfigError("--labels is either none or a file")
    number, num_parts = options.part
    if not 1 <= number <= num_parts:
        raise ConfigError(f"--part {number}/{num_parts}: parts are counted from 1 to {num_parts}")


def journal_name(options: PackOptions) -> str:
    number, num_parts = options.part
    return "pack.jsonl" if options.is_whole else f"pack-{number}-of-{num_parts}.jsonl"


def unique_keys(samples: Sequence[Sample]) -> list[str]:
    """The key of each sample: its name without extension, with "_" for dots in the file's name (webdataset ends keys at a dot).

    Of names that differ in nothing else the extension stays: a.png and a.jpg become a_png and a_jpg.
    """
    keys = [_key(sample.name, with_extension=False) for sample in samples]
    if len(set(keys)) == len(keys):
        return keys
    count = Counter(keys)
    keys = [_key(sample.name, with_extension=True) if count[key] > 1 else key for sample, key in zip(samples, keys, strict=True)]
    first: dict[str, str] = {}
    for sample, key in zip(samples, keys, strict=True):
        if first.setdefault(key, sample.name) != sample.name:
            raise DataError(f"{first[key]!r} and {sample.name!r} would have the same key {key!r}; rename one")
    return keys


def _key(name: str, with_extension: bool) -> str:
    folder, slash, file = name.rpartition("/")
    dot = file.rfind(".")
    if dot > 0 and not with_extension:
        file = file[:dot]
    return folder + slash + file.replace(".", "_")


def refuse_empty_classes(dataset: Dataset, where: str) -> None:
    """A class without images cannot be learned, and is most often a wrong label somewhere else."""
    empty = [f"{label} ({dataset.classes[label]})" for label, num in enumerate(dataset.label_histogram) if num == 0]
    if empty:
        some = ", ".join(empty[:5]) + (", ..." if len(empty) > 5 else "")
        raise DataError(f"{where}: {len(empty)} of {dataset.num_classes} classes have no images: {some}; correct the labels")


@dataclass
class _Part:
    """The samples of one part on their way into shards."""

    source: Source
    out: Path
    listing: Listing
    tasks: list[_Task]
    conversion: Conversion
    options: PackOptions
    journal: Journal

    def pack(self, workers: int, progress: Callable[[int, int], None]) -> Packed:
        damaged = self._damaged()
        done = self.journal.entries[-1].stop if self.journal.entries else 0
        num_resumed = done - sum(entry.stop - entry.start for _, entry in damaged)
        ranges = [(entry.start, entry.stop) for _, entry in damaged]
        if not self.journal.is_complete:
            ranges.append((done, len(self.tasks)))
        tasks = (task for start, stop in ranges for task in self.tasks[start:stop])
        results = _convert_all(self.source, tasks, self.conversion, workers)
        for number, entry in damaged:
            self._pack_again(number, entry, results)
        if not self.journal.is_complete:
            self._pack_rest(done, results, progress)
        report = self.out / (REPORT_FILE if self.options.is_whole else self.journal.path.name.replace("pack", "report"))
        described = self.journal.header["dataset"]
        if not self.options.is_whole:
            _report(report, self.journal.entries)
            dataset = _dataset(self.out, described, self.journal.entries)
        elif (self.out / DATASET_FILE).exists():
            dataset = Dataset.open(self.out)
        else:
            dataset = _publish(self.out, described, self.journal.entries, report)
        return replace(_summary(dataset, self.journal.entries, self.listing.num_ignored), num_resumed=num_resumed)

    def _damaged(self) -> list[tuple[int, Entry]]:
        """The finished shards, by number, that are no longer what they were when the journal noted them."""
        shards = [entry for entry in self.journal.entries if entry.shard]
        return [(number, entry) for number, entry in enumerate(shards) if entry.shard and not _is_intact(self.out, entry.shard)]

    def _pack_again(self, number: int, entry: Entry, results: Iterator[_Made | str]) -> None:
        writer = ShardWriter(self.out, UNLIMITED, UNLIMITED, first=number, prefix=self._prefix)
        for result in islice(results, entry.stop - entry.start):
            if not isinstance(result, str):
                members, _ = result
                writer.add(members)
        if writer.finish() != entry.shard:
            name = entry.shard.name if entry.shard else ""
            raise DataError(f"{self.out / name}: comes out differently now; the source has changed: pack it again from the beginning")

    def _pack_rest(self, start: int, results: Iterator[_Made | str], progress: Callable[[int, int], None]) -> None:
        num_shards = sum(entry.shard is not None for entry in self.journal.entries)
        limits = self.options.shard_bytes, self.options.shard_samples
        writer = ShardWriter(self.out, *limits, first=num_shards, prefix=self._prefix)
        since = _SinceShard(start)
        for place, result in enumerate(results, start=start):
            task = self.tasks[place]
            if isinstance(result, str):
                if self.options.on_error == "stop":
                    raise DataError(f"{self.source.path}: {task.name}: {result} (--on-error report leaves such samples out)")
                since.skipped.append({"name": task.name, "reason": result})
            else:
                members, is_upscaled = result
                if shard := writer.add(members):
                    self.journal.add(since.entry(shard, place))
                    since = _SinceShard(place)
                since.labels[task.label] += 1
                since.num_upscaled += is_upscaled
            progress(place + 1, len(self.tasks))
        self.journal.add(since.entry(writer.finish(), len(self.tasks), is_last=True))

    @property
    def _prefix(self) -> str:
        number, num_parts = self.options.part
        return "shard-" if self.options.is_whole else f"shard-{number:0{len(str(num_parts))}d}-"


class _SinceShard:
    """What has happened since the last shard was finished."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.labels: Counter[int] = Counter()
        self.num_upscaled = 0
        self.skipped: list[dict[str, str]] = []

    def entry(self, shard: Shard | None, stop: int, is_last: bool = False) -> Entry:
        labels = {str(label): num for label, num in sorted(self.labels.items())}
        return Entry(shard, self.start, stop, labels, self.num_upscaled, self.skipped, is_last)


def _list(source: Source, options: PackOptions) -> Listing:
    listing = source.list()
    if options.labels_csv is not None:
        return label_by_csv(listing, options.labels_csv)
    return listing if options.use_labels else listing.without_labels()


def _header(listing: Listing, conversion: Conversion, options: PackOptions, source: Source) -> dict[str, Any]:
    """What must be the same for a pack to go on, and for parts to fit together; and what `dataset.json` will need."""
    chosen = {**asdict(options), "labels_csv": None, "part": None}
    digest = hashlib.sha256(repr((listing.samples, listing.classes)).encode("utf-8", "surrogateescape"))
    return {
        "part": list(options.part),
        "options": json.loads(json.dumps(chosen)),
        "source": {"images": len(listing.samples), "sha256_of_names_and_labels": digest.hexdigest()},
        "num_ignored": listing.num_ignored,
        "dataset": {
            "height": conversion.height,
            "width": conversion.width,
            "channels": conversion.channels,
            "encode": conversion.encode,
            "classes": list(listing.classes),
        },
    }


def _begin_or_compare(journal: Journal, header: dict[str, Any], out: Path) -> None:
    if not journal.header:
        journal.begin(header)
        return
    for name, value in header.items():
        before = journal.header.get(name)
        if before == value:
            continue
        if name == "options" and isinstance(before, dict):
            changed = [option for option in value if before.get(option) != value[option]]
            what = ", ".join(f"{option} was {before.get(option)!r} and is {value[option]!r}" for option in changed)
        else:
            what = f"{name} was {before!r} and is {value!r}"
        raise ConfigError(f"{out}: was begun differently: {what}; resume with the same source and options, or give --out a new directory")


def _is_intact(out: Path, shard: Shard) -> bool:
    try:
        tar, index = out / shard.name, out / shard.index_name
        return tar.stat().st_size == shard.bytes and file_sha256(index) == shard.index_sha256 and file_sha256(tar) == shard.sha256
    except OSError:
        return False


def _dataset(out: Path, described: dict[str, Any], entries: Sequence[Entry]) -> Dataset:
    histogram: Counter[str] = Counter()
    for entry in entries:
        histogram.update(entry.labels)
    return Dataset(
        path=out,
        height=described["height"],
        width=described["width"],
        channels=described["channels"],
        encode=described["encode"],
        classes=tuple(described["classes"]),
        label_histogram=tuple(histogram[str(label)] for label in range(len(described["classes"]))),
        shards=tuple(entry.shard for entry in entries if entry.shard),
    )


def _publish(out: Path, described: dict[str, Any], entries: Sequence[Entry], report: Path) -> Dataset:
    """Writes `dataset.json`, if there is something to publish."""
    _report(report, entries)
    dataset = _dataset(out, described, entries)
    if not dataset.shards:
        raise DataError(f"{out}: none of the images could be packed; see {report}")
    for shard in dataset.shards:
        if problem := dataset.file_problem(shard):
            raise DataError(f"{problem}; pack again with --resume")
    refuse_empty_classes(dataset, str(out))
    dataset.save()
    return dataset


def _report(path: Path, entries: Sequence[Entry]) -> None:
    skipped = [line for entry in entries for line in entry.skipped]
    if skipped:
        write_atomically(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in skipped).encode())


def _summary(dataset: Dataset, entries: Sequence[Entry], num_ignored: int) -> Packed:
    num_skipped = sum(len(entry.skipped) for entry in entries)
    return Packed(dataset, num_skipped, sum(entry.num_upscaled for entry in entries), num_ignored)


def _choose_conversion(source: Source, samples: list[Sample], options: PackOptions) -> Conversion:
    """Fills in what the options leave to the source, from the headers of its first images."""
    sizes, grey = [], []
    for sample in samples[:HEADERS_READ]:
        try:
            with open_image(source.read(sample.name), options.max_pixels) as image:
                sizes.append((image.height, image.width))
                grey.append(is_grey(image))
        except (OSError, ValueError):
            continue  # reported when its turn comes
    height, width = options.resolution or (sizes[0] if sizes else (0, 0))
    is_wide = options.crop == "wide"
    return Conversion(
        height=width if is_wide else height,
        width=width,
        channels=options.channels or (1 if grey and all(grey) else 3),
        encode=options.encode,
        quality=options.quality,
        max_pixels=options.max_pixels,
        resize=options.resolution is not None,
        drop_colour=options.channels is not None,
        crop=options.crop,
        filter=options.filter,
        content_height=height if is_wide else None,
    )


def _make_directory(out: Path, options: PackOptions, resume: bool) -> None:
    """The directory, if nothing in it is in the way."""
    own = journal_name(options)
    try:
        out.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in out.iterdir()}
        if resume and own in names:
            return
        if own in names and DATASET_FILE not in names:
            raise ConfigError(f"{out}: holds an unfinished pack; go on with --resume, or give --out a new or empty directory")
        others = {name for name in names if not (not options.is_whole and _is_of_a_part(name))}
        if others:
            held = "a data set" if DATASET_FILE in names else "files"
            raise ConfigError(f"{out}: already holds {held}; give --out a new or empty directory")
    except OSError as error:
        raise EnvironmentFault(f"{out}: {error.strerror}") from error


def _is_of_a_part(name: str) -> bool:
    return name.startswith(("shard-", "pack-", "report-", ".scratch-"))


def _make_empty(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()


def _convert_all(source: Source, tasks: Iterable[_Task], conversion: Conversion, workers: int) -> Iterator[_Made | str]:
    """The conversion of each sample, or what is wrong with it, in order."""
    tasks = iter(tasks)
    chunks = iter(lambda: list(islice(tasks, CHUNK)), [])
    if workers == 0:
        for chunk in chunks:
            yield from _convert_chunk(source, chunk, conversion)
        return
    # spawn: a fork of a process with threads may hang. Twice as many chunks as workers are in flight, which bounds the memory.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _begin_worker, (source, conversion, os.getpid())) as pool:
        try:
            yield from _in_order((pool.submit(_work, chunk) for chunk in chunks), ahead=2 * workers)
        except BrokenProcessPool as error:
            raise EnvironmentFault("a worker of the pack was killed (out of memory?); try again with fewer --workers") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _in_order(futures: Iterable[Future[list[_Made | str]]], ahead: int) -> Iterator[_Made | str]:
    pending: deque[Future[list[_Made | str]]] = deque()
    for future in futures:
        pending.append(future)
        if len(pending) > ahead:
            yield from pending.popleft().result()
    while pending:
        yield from pending.popleft().result()


_worker_source: Source
_worker_conversion: Conversion


def _begin_worker(source: Source, conversion: Conversion, parent: int) -> None:
    global _worker_source, _worker_conversion
    die_with_parent(parent)
    _worker_source, _worker_conversion = source, conversion
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers


def _work(tasks: list[_Task]) -> list[_Made | str]:
    return _convert_chunk(_worker_source, tasks, _worker_conversion)


def _convert_chunk(source: Source, tasks: list[_Task], conversion: Conversion) -> list[_Made | str]:
    converted: list[Converted | str] = []
    for task in tasks:
        try:
            converted.append(convert(source.read(task.name), conversion))
        except (OSError, ValueError) as error:
            converted.append(str(error))
    # In a loop of its own: between two runs of the codec, which empties the caches, writing headers takes twice as long.
    return [result if isinstance(result, str) else _made(task, result) for task, result in zip(tasks, converted, strict=True)]


def _made(task: _Task, converted: Converted) -> _Made:
    return members_of(task.key, converted.extension, converted.data, task.label), converted.upscaled
