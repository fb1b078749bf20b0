from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biggan_scale.nn.modulated_conv import modulated_conv2d
from biggan_scale.nn.resample_fir import Fir


def grouped(x: Tensor, weight: Tensor, styles: Tensor, demodulate: bool, upsample: Fir | None) -> Tensor:
    """The paper's equations 1 to 3, a kernel for every sample."""
    images = []
    for one, style in zip(x, styles, strict=True):
        kernel = weight * style[None, :, None, None]
        if demodulate:
            kernel = kernel / (kernel.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if upsample is None:
            images.append(F.conv2d(one[None], kernel, padding=kernel.shape[2] // 2))
        else:
            images.append(upsample.blur(F.conv_transpose2d(one[None], kernel.transpose(0, 1), stride=2), (1, 1), gain=4))
    return torch.cat(images)


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("upsampled", [True, False])
def test_equals_a_kernel_per_sample_with_all_gradients(demodulate: bool, upsampled: bool) -> None:
    fir = Fir().double() if upsampled else None
    x, weight, styles = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((3, 4, 5, 6), (7, 4, 3, 3), (3, 4)))
    ours, theirs = modulated_conv2d(x, weight, styles, demodulate=demodulate, upsample=fir), grouped(x, weight, styles, demodulate, fir)
    torch.testing.assert_close(ours, theirs)
    direction = torch.randn_like(ours)
    for a, b in zip(gradients(ours, direction, x, weight, styles), gradients(theirs, direction, x, weight, styles), strict=True):
        torch.testing.assert_close(a, b)


def gradients(y: Tensor, direction: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    """First derivatives, and those of their squared norm."""
    first = torch.autograd.grad((y * direction).sum() + y.square().sum(), inputs, create_graph=True)
    return *first, *torch.autograd.grad(sum(g.square().sum() for g in first), inputs)


def test_demodulated_outputs_have_unit_variance_whatever_the_styles() -> None:
    y = modulated_conv2d(torch.randn(2, 64, 32, 32), torch.randn(128, 64, 3, 3), torch.randn(2, 64) * 50)[:, :, 1:-1, 1:-1]
    assert y.std().item() == pytest.approx(1.0, rel=0.05)


def test_half_precision_keeps_float32_demodulation() -> None:
    x, weight, styles = torch.randn(2, 8, 8, 8), torch.randn(8, 8, 3, 3), torch.randn(2, 8)
    with torch.autocast("cpu", torch.bfloat16):
        y = modulated_conv2d(x, weight, styles)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), modulated_conv2d(x, weight, styles), rtol=0, atol=0.05)


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(7, 4, 3, 3))
        self.fir = Fir()

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        return modulated_conv2d(x, self.weight, styles, upsample=self.fir)


def test_exports_with_a_batch_of_any_size() -> None:
    layer, batch = Layer(), torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(layer, (torch.randn(2, 4, 8, 8), torch.randn(2, 4)), dynamic_shapes=({0: batch}, {0: batch}))
    x, styles = torch.randn(5, 4, 8, 8), torch.randn(5, 4)
    torch.testing.assert_close(program.module()(x, styles), layer(x, styles))
