"""The global order: exactly once per epoch, random access, and no dependence on how the stream is asked for."""

from __future__ import annotations

import hashlib
import tracemalloc

import numpy as np
import pytest

from biggan_scale.data.order import GlobalOrder

UNEVEN = np.random.RandomState(0).randint(1, 400, size=37)


def flat(order: GlobalOrder, start: int, stop: int) -> np.ndarray:
    shard, index = order.positions(start, stop).T
    return (np.cumsum(order.shard_sizes) - order.shard_sizes)[shard] + index


@pytest.mark.parametrize("window", [1, 4, 16, 100])
def test_every_sample_comes_exactly_once_in_each_epoch(window: int) -> None:
    order = GlobalOrder(UNEVEN, seed=3, window=window)
    num = order.num_samples
    epochs = flat(order, 0, 3 * num).reshape(3, num)
    for epoch in epochs:
        assert np.array_equal(np.sort(epoch), np.arange(num))
    assert not np.array_equal(epochs[0], epochs[1])


def test_any_split_into_ranges_gives_the_same_stream() -> None:
    whole = GlobalOrder(UNEVEN, seed=3, window=4).positions(0, 15_000)
    order = GlobalOrder(UNEVEN, seed=3, window=4)
    random = np.random.RandomState(1)
    for start, stop in np.sort(random.randint(0, 15_001, size=(200, 2)), axis=1):
        assert np.array_equal(order.positions(start, stop), whole[start:stop])


def test_ranks_and_micro_batches_slice_one_stream() -> None:
    global_batch, whole = 48, GlobalOrder(UNEVEN, seed=3, window=4).positions(0, 48 * 300)
    seen = []
    for world, micro_batches, rounds in ((4, 1, range(0, 100)), (2, 3, range(100, 157)), (8, 1, range(157, 300))):
        ranks = [GlobalOrder(UNEVEN, seed=3, window=4) for _ in range(world)]
        size = global_batch // (world * micro_batches)
        for round_ in rounds:
            for part in range(world * micro_batches):
                start = round_ * global_batch + part * size
                seen.append(ranks[part % world].positions(start, start + size))
    assert np.array_equal(np.concatenate(seen), whole)


def test_the_end_of_an_epoch_lies_inside_a_range() -> None:
    order = GlobalOrder([3, 2], seed=0, window=2)
    samples = order.positions(3, 13)
    assert samples.shape == (10, 2)
    assert np.array_equal(samples[2:7], order.positions(5, 10))
    assert [order.epoch_of(p) for p in (0, 4, 5, 13)] == [0, 0, 1, 2]


def test_seed_and_window_change_the_order() -> None:
    first = GlobalOrder(UNEVEN, seed=0, window=4).positions(0, 100)
    assert not np.array_equal(first, GlobalOrder(UNEVEN, seed=1, window=4).positions(0, 100))
    assert not np.array_equal(first, GlobalOrder(UNEVEN, seed=0, window=5).positions(0, 100))


def test_samples_of_a_window_are_mixed() -> None:
    """With equal shards in one window, neighbours come from the same shard about one time in sixteen."""
    shards = GlobalOrder([1000] * 16, seed=0, window=16).positions(0, 16_000)[:, 0]
    same = np.mean(shards[1:] == shards[:-1])
    assert abs(same - 1 / 16) < 5 * np.sqrt(1 / 16 * 15 / 16 / 16_000)


def test_the_order_never_changes_between_versions() -> None:
    """Frozen: a run that is resumed with a newer version of this project or of numpy sees the samples it has not seen."""
    samples = GlobalOrder(UNEVEN, seed=3, window=4).positions(7_000, 7_500).astype("<i8")
    assert hashlib.sha256(samples.tobytes()).hexdigest() == "78c575900ee1fab39f6b5ed895d2906ccaa2ce9bb082a3586f32eccd896952be"


def test_empty_shards_are_passed_over() -> None:
    order = GlobalOrder([0, 0, 5, 0, 3, 0, 0], seed=2, window=2)
    assert sorted(flat(order, 0, 8)) == list(range(8))


def test_a_billion_samples_cost_a_window() -> None:
    tracemalloc.start()
    order = GlobalOrder(np.full(100_000, 10_000), seed=1)
    samples = order.positions(500_000_000, 500_000_256)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(np.unique(samples, axis=0)) == 256
    assert peak < 50e6


@pytest.mark.parametrize("start, stop", [(-1, 3), (5, 4)])
def test_impossible_ranges_are_refused(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="start <= stop"):
        GlobalOrder([10]).positions(start, stop)


@pytest.mark.parametrize("sizes, window", [([], 4), ([0, 0], 4), ([3], 0)])
def test_an_order_of_nothing_is_refused(sizes: list[int], window: int) -> None:
    with pytest.raises(ValueError):
        GlobalOrder(sizes, window=window)
