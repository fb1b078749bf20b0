"""Inception v3 as FID and the inception score use it: the network of the TensorFlow graph of December 2015, for its weights.

The architecture is that of Szegedy et al. 2015, 1512.00567, in the form that was released for ImageNet, with what that graph does
otherwise than the networks commonly called Inception v3:
- average pooling inside the blocks does not count the padding; the last block pools by the maximum;
- 1008 outputs; the inception score takes their softmax without the bias;
- images go in as (pixel - 128) / 128, resized to 299 x 299 bilinearly as TensorFlow 1 does, corner to corner of the first pixels.

The parts have the names of the PyTorch file of these weights that pytorch-fid and torch-fidelity publish (pt_inception-2015-12-05-
6726825d.pth); the weights do not come with this project. Sources of the metrics: Heusel et al., 1706.08500; Salimans et al., 1606.03498.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from biggan_scale.config import ConfigError
from biggan_scale.metrics.features import Features

SIDE = 299
NUM_FEATURES = 2048
NUM_OUTPUTS = 1008
PUBLISHED_SHA256 = "6726825d"  # how the sha256 of the published .pth begins, as its name says
COUNTER = "num_batches_tracked"  # of batch norms; some files have it


class Inception(nn.Module):
    """images: (B, C, H, W) float in [-1, 1], grey or RGB, any size -> 2048 features, and probabilities of 1008 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3)
        self.Mixed_5b = Block35(192, 32)
        self.Mixed_5c = Block35(256, 64)
        self.Mixed_5d = Block35(288, 64)
        self.Mixed_6a = Reduction17(288)
        self.Mixed_6b = Block17(128)
        self.Mixed_6c = Block17(160)
        self.Mixed_6d = Block17(160)
        self.Mixed_6e = Block17(192)
        self.Mixed_7a = Reduction8()
        self.Mixed_7b = Block8(1280, pools_by_maximum=False)
        self.Mixed_7c = Block8(2048, pools_by_maximum=True)
        self.fc = nn.Linear(NUM_FEATURES, NUM_OUTPUTS)

    def forward(self, images: Tensor) -> Features:
        pixels = (images.expand(-1, 3, -1, -1) + 1) * 127.5
        return self.look_at((resized(pixels, SIDE) - 128) / 128)

    def look_at(self, h: Tensor) -> Features:
        """The same from (B, 3, 299, 299) as the graph has it after its first steps."""
        h = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(h)))  # (B, 64, 147, 147)
        h = functional.max_pool2d(h, 3, stride=2)
        h = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(h))  # (B, 192, 71, 71)
        h = functional.max_pool2d(h, 3, stride=2)
        h = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(h)))  # (B, 288, 35, 35)
        h = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(h)))))  # (B, 768, 17, 17)
        h = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(h)))  # (B, 2048, 8, 8)
        values = h.mean((2, 3))
        return Features(values, functional.linear(values, self.fc.weight).softmax(1))


def load(path: Path) -> Inception:
    """The network with the weights of a .safetensors or .pth file, in eval mode. Nothing in the file is executed.

    Raises: ConfigError where it holds anything but these weights.
    """
    with torch.device("meta"):
        network = Inception()
    wanted = {name: tensor.shape for name, tensor in network.state_dict().items() if not name.endswith(COUNTER)}
    state = {name: tensor for name, tensor in _tensors(path).items() if not name.endswith(COUNTER)}
    for name in sorted(wanted.keys() | state.keys()):
        if name not in state or name not in wanted or state[name].shape != wanted[name]:
            has, should = (f"{tuple(of[name])}" if name in of else "missing" for of in ({n: t.shape for n, t in state.items()}, wanted))
            raise ConfigError(f"{path}: not the weights of FID's Inception: {name} is {has}, Inception's is {should}")
    counters = {name: torch.zeros((), dtype=torch.int64) for name in network.state_dict() if name.endswith(COUNTER)}
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()} | counters, assign=True)
    return network.eval().requires_grad_(False)


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)  # tensors and containers; anything else is refused
        return {str(name): tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
    except pickle.UnpicklingError:
        raise ConfigError(f"{path}: refused: it holds more than tensors; only tensors are read") from None
    except Exception as error:  # torch.load answers damaged files with nearly every kind of error
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(f"{path}: cannot be read as weights: {why}") from None


def resized(images: Tensor, side: int) -> Tensor:
    """(B, C, H, W) to (B, C, side, side), bilinear as TensorFlow 1's resize_bilinear: output i lies at input i * size / side."""
    for dim in (2, 3):
        size = images.shape[dim]
        place = torch.arange(side, dtype=images.dtype, device=images.device) * (size / side)
        low = place.floor().long().clamp(max=size - 1)
        high = (low + 1).clamp(max=size - 1)
        part = (place - low).view(-1, 1) if dim == 2 else place - low
        images = images.index_select(dim, low) * (1 - part) + images.index_select(dim, high) * part
    return images


class Conv(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, before: int, after: int, size: int | tuple[int, int], stride: int = 1, padding: int | tuple[int, int] = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(after, eps=1e-3)

    def forward(self, h: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(h)))


def _row(before: int, after: int, length: int) -> Conv:
    return Conv(before, after, (1, length), padding=(0, length // 2))


def _column(before: int, after: int, length: int) -> Conv:
    return Conv(before, after, (length, 1), padding=(length // 2, 0))


def _pooled(h: Tensor) -> Tensor:
    return functional.avg_pool2d(h, 3, stride=1, padding=1, count_include_pad=False)


class Block35(nn.Module):
    """At 35 x 35: 1x1, 5x5, twice 3x3, and pooling."""

    def __init__(self, before: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(before, 64, 1)
        self.branch5x5_1 = Conv(before, 48, 1)
        self.branch5x5_2 = Conv(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Conv(before, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, padding=1)
        self.branch_pool = Conv(before, pooled, 1)

    def forward(self, h: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(h))
        twice = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(h)))
        return torch.cat([self.branch1x1(h), five, twice, self.branch_pool(_pooled(h))], 1)


class Reduction17(nn.Module):
    """From 35 x 35 to 17 x 17."""

    def __init__(self, before: int) -> None:
        super().__init__()
        self.branch3x3 = Conv(before, 384, 3, stride=2)
        self.branch3x3dbl_1 = Conv(before, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, stride=2)

    def forward(self, h: Tensor) -> Tensor:
        twice = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(h)))
        return torch.cat([self.branch3x3(h), twice, functional.max_pool2d(h, 3, stride=2)], 1)


class Block17(nn.Module):
    """At 17 x 17: 1x1, 7x7 as 1x7 and 7x1 once and twice, and pooling."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(768, 192, 1)
        self.branch7x7_1 = Conv(768, width, 1)
        self.branch7x7_2 = _row(width, width, 7)
        self.branch7x7_3 = _column(width, 192, 7)
        self.branch7x7dbl_1 = Conv(768, width, 1)
        self.branch7x7dbl_2 = _column(width, width, 7)
        self.branch7x7dbl_3 = _row(width, width, 7)
        self.branch7x7dbl_4 = _column(width, width, 7)
        self.branch7x7dbl_5 = _row(width, 192, 7)
        self.branch_pool = Conv(768, 192, 1)

    def forward(self, h: Tensor) -> Tensor:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(h)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(h)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(h), seven, twice, self.branch_pool(_pooled(h))], 1)


class Reduction8(nn.Module):
    """From 17 x 17 to 8 x 8."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1 = Conv(768, 192, 1)
        self.branch3x3_2 = Conv(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Conv(768, 192, 1)
        self.branch7x7x3_2 = _row(192, 192, 7)
        self.branch7x7x3_3 = _column(192, 192, 7)
        self.branch7x7x3_4 = Conv(192, 192, 3, stride=2)

    def forward(self, h: Tensor) -> Tensor:
        three = self.branch3x3_2(self.branch3x3_1(h))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(h))))
        return torch.cat([three, seven, functional.max_pool2d(h, 3, stride=2)], 1)


class Block8(nn.Module):
    """At 8 x 8: 1x1, 3x3 once and twice, each ending in 1x3 beside 3x1, and pooling."""

    def __init__(self, before: int, pools_by_maximum: bool) -> None:
        super().__init__()
        self.pools_by_maximum = pools_by_maximum
        self.branch1x1 = Conv(before, 320, 1)
        self.branch3x3_1 = Conv(before, 384, 1)
        self.branch3x3_2a = _row(384, 384, 3)
        self.branch3x3_2b = _column(384, 384, 3)
        self.branch3x3dbl_1 = Conv(before, 448, 1)
        self.branch3x3dbl_2 = Conv(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = _row(384, 384, 3)
        self.branch3x3dbl_3b = _column(384, 384, 3)
        self.branch_pool = Conv(before, 192, 1)

    def forward(self, h: Tensor) -> Tensor:
        once = self.branch3x3_1(h)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(h))
        pooled = functional.max_pool2d(h, 3, stride=1, padding=1) if self.pools_by_maximum else _pooled(h)
        ends = [self.branch3x3_2a(once), self.branch3x3_2b(once), self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice)]
        return torch.cat([self.branch1x1(h), *ends, self.branch_pool(pooled)], 1)
