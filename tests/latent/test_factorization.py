from __future__ import annotations

import numpy as np
import torch

from biggan_scale.latent.factorization import directions


def test_directions_are_the_right_singular_vectors_strongest_first() -> None:
    weight = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    found = directions(weight, 4)
    _, values, vectors = np.linalg.svd(weight.double().numpy())
    np.testing.assert_allclose(found.strengths, values[:4] ** 2, rtol=1e-5)
    np.testing.assert_allclose(np.abs((found.vectors.double().numpy() * vectors[:4]).sum(1)), 1, rtol=1e-5)
    assert (found.vectors.gather(1, found.vectors.abs().argmax(1, keepdim=True)) > 0).all()


def test_no_direction_changes_more_than_the_first() -> None:
    weight = torch.randn(9, 5, generator=torch.Generator().manual_seed(1))
    first = directions(weight, 1)
    others = torch.nn.functional.normalize(torch.randn(1000, 5, generator=torch.Generator().manual_seed(2)), dim=1)
    assert (others @ weight.T).square().sum(1).max() <= first.strengths[0]
    torch.testing.assert_close((first.vectors @ weight.T).square().sum(1), first.strengths)
