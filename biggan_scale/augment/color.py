"""Colour transforms as one affine map of (R, G, B, 1) for each image (Karras et al. 2020, 2006.06676, appendix B.2).

The axis of grey v = (1, 1, 1) / sqrt(3) is what luma flips mirror, hue turns around, and saturation leaves alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def brightness(shift: Tensor) -> Tensor:
    """(B, 4, 4) from (B, 1): every colour moves by it."""
    matrix = torch.eye(4, dtype=shift.dtype, device=shift.device).repeat(len(shift), 1, 1)
    matrix[:, :3, 3] = shift
    return matrix


def contrast(factor: Tensor) -> Tensor:
    """(B, 4, 4) from (B, 1): colours are scaled about mid grey, 0."""
    return torch.diag_embed(torch.cat([factor.expand(-1, 3), torch.ones_like(factor)], dim=1))


def luma_flip(flip: Tensor) -> Tensor:
    """(B, 4, 4) from (B, 1) of 0 or 1: light and dark change places, hues stay."""
    return torch.eye(4, dtype=flip.dtype, device=flip.device) - 2 * _grey(flip) * flip[:, :, None]


def saturation(factor: Tensor) -> Tensor:
    """(B, 4, 4) from (B, 1): what differs from grey is scaled."""
    grey = _grey(factor)
    eye = torch.eye(4, dtype=factor.dtype, device=factor.device)
    scale = torch.cat([factor.expand(-1, 3), torch.ones_like(factor)], dim=1)[:, :, None]
    return grey + (eye - grey) * scale


def hue(angle: Tensor) -> Tensor:
    """(B, 4, 4) from (B, 1): a rotation about the axis of grey by so many radians (Rodrigues' formula)."""
    grey = _grey(angle)
    cross = torch.zeros(4, 4, dtype=angle.dtype, device=angle.device)
    cross[0, 1], cross[0, 2], cross[1, 2] = -1, 1, -1
    cross = (cross - cross.T) / math.sqrt(3)
    eye = torch.eye(4, dtype=angle.dtype, device=angle.device)
    color = torch.diag(angle.new_tensor([1, 1, 1, 0]))
    cosine, sine = angle.cos()[:, :, None], angle.sin()[:, :, None]
    return (eye - color) + grey + (color - grey) * cosine + cross * sine


def apply(images: Tensor, matrix: Tensor) -> Tensor:
    """(B, C, H, W) images through a (B, 4, 4) map; with one channel, its mean over R, G and B."""
    if images.shape[1] == 1:
        rows = matrix[:, :3].mean(1, keepdim=True)  # (B, 1, 4)
        return images * rows[:, :, :3].sum(2)[:, :, None, None] + rows[:, :, 3, None, None]
    mixed = torch.bmm(matrix[:, :3, :3], images.flatten(2)).unflatten(2, images.shape[2:])
    return mixed + matrix[:, :3, 3, None, None]


def _grey(like: Tensor) -> Tensor:
    """(4, 4): the projection on the axis of grey."""
    grey = torch.full((4, 4), 1 / 3, dtype=like.dtype, device=like.device)
    grey[3], grey[:, 3] = 0, 0
    return grey
