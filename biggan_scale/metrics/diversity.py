"""How much a set of images differs among itself, from pixels alone: for watching a run, not for comparing models.

Images are first averaged down to 16x16, so that noise a network adds to single pixels does not count as diversity. With
d(a, b) the root mean square difference of two such images,

    mean distance       mean of d over pairs of different images (of the same class, where there are classes)
    effective number    1 / mean over all pairs of exp(-(d / w)^2)

The effective number is the exponential of the Renyi-2 entropy of the Gaussian kernel matrix (Jalali et al. 2023, 2302.12259,
definition 1: the mode count): k copies each of m images that are far apart against w count as m. The distance notices images that
draw together; the number notices a few images that repeat, which the distance does not: of m images, 1 - 1/m of the pairs
still differ. Both are means over all pairs, so no single image decides, and both are bounded by the sample: compare equal
numbers of images, of the same classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 16  # px that images are averaged down to
WIDTH = 0.5  # w as a part of the mean distance of the reference: at that distance the kernel is exp(-4) = 0.02
MIN_PAIRS = 32  # of the same class, for a mean over them to say something: beneath, all pairs are taken


def distances(images: Tensor) -> Tensor:
    """(N, C, H, W) to (N, N), float64 on the CPU: the root mean square differences d of all pairs, averaged down."""
    size = (min(images.shape[2], SIDE), min(images.shape[3], SIDE))
    small = F.adaptive_avg_pool2d(images.float(), size).flatten(1).cpu().double()  # (N, D)
    # Not by the product of matrices: of nearly equal images it leaves rounding errors as large as 1e-8 of their norm.
    return torch.cdist(small, small, compute_mode="donot_use_mm_for_euclid_dist") / small.shape[1] ** 0.5


def mean_distance(pairs: Tensor, labels: Tensor | None = None) -> float:
    """The mean of d over pairs of different images.

    Args:
        pairs: (N, N) of `distances`.
        labels: (N,) on the CPU; pairs of the same class only, unless these are fewer than MIN_PAIRS.
    """
    chosen = ~torch.eye(len(pairs), dtype=torch.bool)
    if labels is not None:
        same = chosen & (labels[:, None] == labels[None, :])
        chosen = same if int(same.sum()) // 2 >= MIN_PAIRS else chosen
    return float(pairs[chosen].mean())


def effective_number(pairs: Tensor, width: float) -> float:
    """How many different images there are, between 1 and N; `width` is w, above 0."""
    return 1 / float(torch.exp(-(pairs / width).square()).mean())


def compared(images: Tensor, reference: Tensor, labels: Tensor | None = None) -> tuple[float, float]:
    """(diversity, modes): mean distance and effective number of images as a part of the reference's.

    Args:
        images, reference: (N, C, H, W) each.
        labels: (N,) of both, on the CPU.
    """
    pairs, reference_pairs = distances(images), distances(reference)
    width = WIDTH * mean_distance(reference_pairs) or 1.0  # a reference of one image repeated differs nowhere
    reference_distance = mean_distance(reference_pairs, labels)
    diversity = mean_distance(pairs, labels) / reference_distance if reference_distance else float("nan")
    return diversity, effective_number(pairs, width) / effective_number(reference_pairs, width)
