from __future__ import annotations

import numpy as np
import pytest
import torch

from biggan_scale.config import ConfigError
from biggan_scale.nn.minibatch_std import MinibatchStd


def test_equals_the_definition() -> None:
    x = torch.randn(6, 3, 4, 5, dtype=torch.float64)
    y = MinibatchStd(3)(x)
    assert y.shape == (6, 4, 4, 5) and torch.equal(y[:, :3], x)
    for group in (slice(0, 3), slice(3, 6)):
        expected = np.sqrt(x[group].numpy().var(axis=0) + 1e-8).mean()
        np.testing.assert_allclose(y[group, 3].numpy(), expected, rtol=1e-12)


def test_groups_do_not_depend_on_how_the_batch_is_divided() -> None:
    x, layer = torch.randn(8, 3, 2, 2), MinibatchStd(2)
    whole = layer(x)
    torch.testing.assert_close(torch.cat([layer(part) for part in x.split(4)]), whole, rtol=0, atol=1e-6)
    torch.testing.assert_close(torch.cat([layer(part) for part in x.split(2)]), whole, rtol=0, atol=1e-6)


def test_a_batch_that_does_not_divide_is_refused_and_a_small_one_is_one_group() -> None:
    with pytest.raises(ConfigError, match="a micro-batch of 6 cannot be cut into groups of 4"):
        MinibatchStd(4)(torch.randn(6, 1, 2, 2))
    x = torch.randn(2, 1, 2, 2)
    assert torch.equal(MinibatchStd(4)(x), MinibatchStd(2)(x))
    assert torch.isfinite(MinibatchStd(4)(x[:1])).all()


def test_whoever_only_looks_may_show_any_number() -> None:
    x = torch.randn(6, 3, 2, 2)
    torch.testing.assert_close(MinibatchStd(4).eval()(x), MinibatchStd(2)(x))
    torch.testing.assert_close(MinibatchStd(4).eval()(x[:3]), MinibatchStd(4)(x[:3]))
