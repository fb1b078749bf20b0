"""The probe against the conditions of its minimum, written in numpy, and against a solution in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from biggan_scale.metrics.linear_probe import fit, rectified


def blobs(num: int, seed: int, spread: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """(num, 4) features of three classes, in very different units, one of them constant; and labels."""
    random = np.random.RandomState(seed)
    labels = random.randint(3, size=num)
    centres = np.array([[0, 0, 0], [2, 0, 1], [0, 2, -1]])
    features = (centres[labels] + spread * random.randn(num, 3)) * [1, 1e3, 1e-3] + [5, -1e4, 0]
    return torch.from_numpy(np.hstack([features, np.full((num, 1), 7.0)])), torch.from_numpy(labels)


@pytest.mark.parametrize("decay", [1e-3, 1.0])
def test_the_gradient_at_the_solution_is_zero(decay: float) -> None:
    features, labels = blobs(300, 0)
    probe = fit(features, labels, num_classes=3, decay=decay)
    x = features[:, :3].numpy()
    x = (x - x.mean(0)) / x.std(0)
    weight, bias = probe.weight[:, :3].numpy(), probe.bias.numpy()
    scores = x @ weight.T + bias
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    excess = (p - np.eye(3)[labels.numpy()]) / len(x)
    np.testing.assert_allclose(excess.T @ x + decay * weight, 0, atol=1e-6)
    np.testing.assert_allclose(excess.sum(0), 0, atol=1e-6)
    np.testing.assert_allclose(probe.logits(features), scores, atol=1e-8)
    assert not probe.scale[3]  # the constant feature is left out


def test_on_one_binary_feature_the_probabilities_are_the_frequencies() -> None:
    # Without decay the fit reproduces P(y | x) of each group: 3/4 and 1/5.
    features = torch.tensor([[0.0]] * 8 + [[1.0]] * 10)
    labels = torch.tensor([1] * 6 + [0] * 2 + [1] * 2 + [0] * 8)
    p = fit(features, labels, num_classes=2, decay=0.0).logits(torch.tensor([[0.0], [1.0]])).softmax(1)[:, 1]
    np.testing.assert_allclose(p, [3 / 4, 1 / 5], atol=1e-5)


def test_tells_separate_classes_apart_on_new_samples() -> None:
    probe = fit(*blobs(300, 0, spread=0.2), num_classes=3)
    assert probe.accuracy(*blobs(200, 1, spread=0.2)) > 0.97
    features, labels = blobs(200, 2, spread=0.2)
    assert probe.accuracy(features, (labels + 1) % 3) < 0.03


def test_same_features_give_the_same_probe() -> None:
    first, second = (fit(*blobs(100, 0), num_classes=3) for _ in range(2))
    assert torch.equal(first.weight, second.weight)


def test_a_tick_can_end_it() -> None:
    def tick() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        fit(*blobs(30, 0), num_classes=3, tick=tick)


def test_rectified_features_are_the_two_sides_of_the_training_features_mean() -> None:
    train, test = torch.tensor([[1.0, 5.0], [3.0, 5.0]]), torch.tensor([[4.0, 7.0]])
    first, second = rectified(train, test)
    assert first.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]  # mean 2, deviation 1; the second feature is constant
    assert second.tolist() == [[2, 0, 0, 0]]


def test_rectified_features_tell_the_middle_from_both_sides_which_no_linear_probe_can() -> None:
    features = torch.linspace(-1, 1, 200)[:, None]
    labels = (features[:, 0].abs() > 0.5).long()
    assert fit(features, labels, num_classes=2).accuracy(features, labels) < 0.6
    (both, _), num_classes = rectified(features, features), 2
    assert fit(both, labels, num_classes).accuracy(both, labels) > 0.98
