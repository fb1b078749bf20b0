import io
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from biggan_scale.nn.sync_norm import BatchNorm
from support.ranks import run_ranks

SIZES = (3, 5)  # samples on rank 0 and on rank 1
CHANNELS = 4


def images(dtype: torch.dtype, shift: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(sum(SIZES), CHANNELS, 6, 5, dtype=torch.float64, generator=generator) * 2 + shift).to(dtype)


def affine(dtype: torch.dtype, *shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    gain, bias = torch.randn(2, *shape, CHANNELS, dtype=dtype, generator=generator)
    return gain, bias


def probe(x: Tensor) -> Tensor:
    """Fixed weights for a scalar loss that no symmetry makes trivial."""
    return torch.sin(torch.arange(x.numel(), dtype=x.dtype)).view(x.shape)


def results(norm: BatchNorm, x: Tensor, gain: Tensor, bias: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Output, gradients, and the gradient of a function of the gradient."""
    x, gain, bias = (t.detach().requires_grad_(True) for t in (x, gain, bias))
    y = norm(x, gain, bias)
    dx, dgain, dbias = torch.autograd.grad((y * weights + y**3).sum(), (x, gain, bias), create_graph=True)
    # The penalty is summed over samples, so ranks add up to the whole.
    (ddx,) = torch.autograd.grad(dx.square().sum(), x)
    return {"y": y, "dx": dx, "dgain": dgain, "dbias": dbias, "ddx": ddx, "mean": norm.running_mean, "var": norm.running_var}


def reference(x: Tensor, gain: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """The same by torch on all samples, in one process."""
    norm = nn.BatchNorm2d(CHANNELS, affine=False, dtype=x.dtype)

    class Torch(BatchNorm):
        def forward(self, x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
            shape = (-1, CHANNELS, 1, 1)
            y = norm(x) * gain.view(shape) + bias.view(shape)
            self.running_mean, self.running_var = norm.running_mean, norm.running_var
            return y

    return results(Torch(CHANNELS).to(x.dtype), x, gain, bias, probe(x))


def my_samples() -> slice:
    return slice(0, SIZES[0]) if dist.get_rank() == 0 else slice(SIZES[0], None)


def on_my_rank(dtype: torch.dtype, per_sample: bool) -> dict[str, Tensor]:
    mine = my_samples()
    x = images(dtype)
    gain, bias = affine(dtype, *((sum(SIZES),) if per_sample else ()))
    if per_sample:
        gain, bias = gain[mine], bias[mine]
    found = results(BatchNorm(CHANNELS).to(dtype), x[mine], gain, bias, probe(x)[mine])
    return {name: value.detach() for name, value in found.items()}


def half_precision() -> dict[str, Tensor]:
    norm = BatchNorm(CHANNELS)
    y = norm(images(torch.bfloat16, shift=50.0)[my_samples()], *affine(torch.float32))
    return {"y": y, "mean": norm.running_mean, "var": norm.running_var}


def alone_on_rank_0() -> bool:
    """Rank 1 never calls the norm: this hangs if the norm talks."""
    if dist.get_rank() == 0:
        norm = BatchNorm(CHANNELS).eval()
        norm(images(torch.float32), *affine(torch.float32))
        norm.train()
        norm.synchronize = False
        norm(images(torch.float32), *affine(torch.float32))
    return True


def everything() -> bytes:
    found = {
        "alone": alone_on_rank_0(),
        "half": half_precision(),
        "per sample": on_my_rank(torch.float64, True),
        "per channel": on_my_rank(torch.float64, False),
    }
    torch.save(found, buffer := io.BytesIO())  # tensors do not outlive the process they come from
    return buffer.getvalue()


@pytest.fixture(scope="module")
def two_ranks() -> list[dict[str, Any]]:
    """What each of two processes finds; starting them takes longer than all they do."""
    return [torch.load(io.BytesIO(found), weights_only=True) for found in run_ranks(2, everything)]


@pytest.mark.parametrize("per_sample", [False, True])
def test_two_ranks_with_uneven_batches_equal_torch_on_all_samples(two_ranks: list[dict[str, Any]], per_sample: bool) -> None:
    found = [rank["per sample" if per_sample else "per channel"] for rank in two_ranks]
    x = images(torch.float64)
    expected = reference(x, *affine(x.dtype, *((len(x),) if per_sample else ())))
    for name in ("y", "dx", "ddx") + (("dgain", "dbias") if per_sample else ()):
        torch.testing.assert_close(torch.cat([rank[name] for rank in found]), expected[name], rtol=1e-10, atol=1e-10)
    if not per_sample:
        for name in ("dgain", "dbias"):  # of a shared parameter: summed over ranks by whoever reduces gradients
            torch.testing.assert_close(found[0][name] + found[1][name], expected[name], rtol=1e-10, atol=1e-10)
    for rank in found:
        torch.testing.assert_close((rank["mean"], rank["var"]), (expected["mean"], expected["var"]), rtol=1e-12, atol=1e-12)


def test_bfloat16_inputs_have_float32_statistics_over_all_ranks(two_ranks: list[dict[str, Any]]) -> None:
    found = [rank["half"] for rank in two_ranks]
    x = images(torch.bfloat16, shift=50.0).double()
    expected = reference(x, *affine(torch.float64))
    y = torch.cat([rank["y"] for rank in found])
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), expected["y"], rtol=2**-8, atol=1e-3)
    assert found[0]["var"].dtype == torch.float32
    torch.testing.assert_close(found[0]["mean"].double(), expected["mean"], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found[0]["var"].double(), expected["var"], rtol=1e-5, atol=1e-6)


def test_eval_and_unsynchronised_norms_send_nothing(two_ranks: list[dict[str, Any]]) -> None:
    assert all(rank["alone"] for rank in two_ranks)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("per_sample", [False, True])
def test_one_rank_equals_torch(per_sample: bool, memory_format: torch.memory_format) -> None:
    x = images(torch.float64).contiguous(memory_format=memory_format)
    gain, bias = affine(x.dtype, *((len(x),) if per_sample else ()))
    torch.testing.assert_close(results(BatchNorm(CHANNELS).double(), x, gain, bias, probe(x)), reference(x, gain, bias))


def test_eval_uses_the_running_statistics() -> None:
    norm = BatchNorm(CHANNELS, eps=0.5).double().eval()
    norm.running_mean.copy_(torch.arange(4.0))
    norm.running_var.copy_(torch.arange(4.0) + 1)
    x, (gain, bias) = images(torch.float64), affine(torch.float64)
    expected = (x - torch.arange(4).view(-1, 1, 1)) / (torch.arange(4).view(-1, 1, 1) + 1.5).sqrt()
    torch.testing.assert_close(norm(x, gain, bias), expected * gain.view(-1, 1, 1) + bias.view(-1, 1, 1))


def test_running_variance_can_be_the_biased_one() -> None:
    x = images(torch.float64)
    norm = BatchNorm(CHANNELS, momentum=1.0, unbiased=False).double()
    norm(x, *affine(x.dtype))
    torch.testing.assert_close(norm.running_var, x.var((0, 2, 3), correction=0))


def test_gain_can_be_added() -> None:
    x, (gain, bias) = images(torch.float64), affine(torch.float64)
    expected = nn.BatchNorm2d(CHANNELS, affine=False, dtype=x.dtype)(x) + (gain + bias).view(-1, 1, 1)
    torch.testing.assert_close(BatchNorm(CHANNELS, adds_gain=True).double()(x, gain, bias), expected)


def test_large_means_keep_their_digits() -> None:
    x = images(torch.float32, shift=10_000.0)
    exact = x.double()
    expected = (exact - exact.mean((0, 2, 3), keepdim=True)) / (exact.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
    found = BatchNorm(CHANNELS)(x, torch.ones(CHANNELS), torch.zeros(CHANNELS))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-3)  # 1e4 has an ulp of 1e-3 in float32
