from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from biggan_scale.engine.handover import handed_over, one_ahead


def test_one_ahead_keeps_the_order_and_begins_the_next_before_handing_out() -> None:
    events: list[str] = []

    def begin(item: int) -> int:
        events.append(f"begin {item}")
        return item * 10

    for ready in one_ahead(range(3), begin):
        events.append(f"use {ready}")
    assert events == ["begin 0", "begin 1", "use 0", "begin 2", "use 10", "use 20"]


def test_nothing_is_fetched_ahead_on_a_cpu() -> None:
    fetched: list[int] = []

    def items() -> Iterator[int]:
        for i in range(3):
            fetched.append(i)
            yield i

    handed = handed_over(items(), lambda i: (torch.full((2,), i),), torch.device("cpu"))
    assert next(handed)[1][0].tolist() == [0, 0]
    assert fetched == [0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="copies to a GPU, and there is none")
def test_batches_arrive_on_a_gpu_as_they_were() -> None:
    batches = [torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8) for _ in range(5)]
    handed = handed_over(batches, lambda batch: (batch,), torch.device("cuda"))
    for (item, (copy,)), batch in zip(handed, batches, strict=True):
        assert item is batch
        assert copy.is_cuda and torch.equal(copy.cpu(), batch)
