"""A small convolutional classifier of real images, to ask of generated ones: what class is this, and how far are its features?

It is trained from the same shards as the GAN, in a minute or two on one CPU core, so it needs no downloaded weights. Three
convolutions with batch norm and 128 features: 94 186 parameters for grey images and ten classes. Two epochs of Fashion-MNIST at
32 px give 90.4 % on its test images (benchmarks/fashion_mnist.py prints it as `real_test`). Its numbers compare runs on
one data set with each other; they are not FID and not comparable between data sets.

The accuracy of a classifier of real images on generated ones, against the labels they were asked for, is the "GAN-test" of
Shmelkov, Schmid and Alahari, "How good is my GAN?", 1807.09499.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from biggan_scale.config import ImageSpec

NUM_FEATURES = 128
PEAK_LEARNING_RATE = 0.02  # 0.01 does as well within a percent, on Fashion-MNIST
WEIGHT_DECAY = 0.01


class Classifier(nn.Module):
    """Logits of `spec.num_classes` classes; the initial weights depend on the seed only.

    images: (B, C, H, W) float in [-1, 1], at least 8 px.
    """

    def __init__(self, spec: ImageSpec, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.body = nn.Sequential(_block(spec.channels, 32), _block(32, 64), _block(64, NUM_FEATURES))
            self.head = nn.Linear(NUM_FEATURES, spec.num_classes)

    def features(self, images: Tensor) -> Tensor:
        """(B, 128), not negative."""
        return self.body(images).mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """(B, num_classes)."""
        return self.head(self.features(images))


def train(classifier: Classifier, batches: Iterable[tuple[Tensor, Tensor]], num_batches: int) -> None:
    """One pass over `batches` of (images, labels), of which there are `num_batches`; leaves the classifier in eval mode.

    Deterministic: no randomness but the order of the batches. Schedule: Smith and Topin, 1708.07120.
    """
    optimizer = torch.optim.AdamW(classifier.parameters(), PEAK_LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=num_batches)
    classifier.train()
    for images, labels in batches:
        optimizer.zero_grad()
        functional.cross_entropy(classifier(images), labels).backward()
        optimizer.step()
        schedule.step()
    classifier.eval()


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU(), nn.MaxPool2d(2)
    )
