from __future__ import annotations

import torch
from torch import Tensor

from biggan_scale.config.spec import ImageSpec
from biggan_scale.metrics.classifier import Classifier, train

GREY = ImageSpec(height=16, width=16, channels=1, num_classes=4)


def bars(num: int, seed: int) -> tuple[Tensor, Tensor]:
    """(num, 1, 16, 16) noise with a bright bar in the quarter that is the label, and (num,) labels."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (num,), generator=random)
    images = 0.5 * torch.randn(num, 1, 16, 16, generator=random).clamp(-1, 1)
    for image, label in zip(images, labels, strict=True):
        image[:, 4 * label : 4 * label + 4, : 4 * label + 4] += 0.5
    return images, labels


def trained(seed: int) -> Classifier:
    classifier = Classifier(GREY, seed)
    train(classifier, [bars(32, step) for step in range(20)], num_batches=20)
    return classifier


def test_learns_to_tell_classes_apart() -> None:
    images, labels = bars(200, seed=1000)
    predicted = trained(seed=0)(images).argmax(1)
    assert (predicted == labels).float().mean() > 0.95


def test_same_seed_and_batches_give_the_same_weights() -> None:
    torch.manual_seed(1)
    first = trained(seed=3).state_dict()
    torch.manual_seed(2)
    second = trained(seed=3).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_initial_weights_depend_on_the_seed_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    a, b = Classifier(GREY, seed=0), Classifier(GREY, seed=1)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))
    assert not torch.equal(a.head.weight, b.head.weight)


def test_logits_are_the_head_of_the_features() -> None:
    classifier = trained(seed=0)
    images, _ = bars(5, seed=7)
    features = classifier.features(images)
    assert features.shape == (5, 128)
    assert torch.equal(classifier.head(features), classifier(images))


def test_has_the_documented_size_on_fashion_mnist() -> None:
    classifier = Classifier(ImageSpec(height=32, width=32, channels=1, num_classes=10), seed=0)
    assert sum(p.numel() for p in classifier.parameters()) == 94_186
