import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from biggan_scale.nn import spectral_norm


def normalised(layer: nn.Module, **options: float) -> nn.Module:
    spectral_norm.apply(layer, (nn.Conv2d, nn.Linear, nn.Embedding), **options)
    return layer


def norm_of(layer: nn.Module) -> spectral_norm.SpectralNorm:
    return layer.parametrizations.weight[0]


@pytest.mark.parametrize("layer", [nn.Linear(7, 5), nn.Conv2d(3, 8, 3), nn.Embedding(6, 4)], ids=["linear", "conv", "embedding"])
def test_many_refreshes_find_the_largest_singular_value(layer: nn.Module) -> None:
    # The error shrinks by (s2 / s1)^2 a refresh: the weight is given a gap, or how far 200 of them come is left to the initialisation.
    with torch.no_grad():
        left, _, right = torch.linalg.svd(layer.weight.flatten(1), full_matrices=False)
        values = 0.9 ** torch.arange(len(right), dtype=torch.float32)
        layer.weight.copy_((left * values @ right).view_as(layer.weight))
    expected = layer.weight.detach().clone()  # the largest singular value is 1
    with torch.no_grad():
        layer.weight.mul_(3.7)
    normalised(layer)
    for _ in range(200):
        spectral_norm.refresh(layer)
    torch.testing.assert_close(layer.weight, expected, rtol=1e-5, atol=1e-6)


def test_a_refresh_is_one_power_iteration() -> None:
    layer = normalised(nn.Linear(7, 5, dtype=torch.float64))
    norm, weight = norm_of(layer), layer.parametrizations.weight.original.detach()
    norm.u.normal_()
    v = weight.T @ norm.u
    v /= v.norm()
    u = weight @ v
    u /= u.norm()
    spectral_norm.refresh(layer)
    torch.testing.assert_close((norm.u, norm.v), (u, v))
    torch.testing.assert_close(layer.weight.detach(), weight / (u @ weight @ v))


def test_a_training_forward_does_not_move_the_vectors() -> None:
    layer = normalised(nn.Linear(7, 5))
    before = norm_of(layer).u.clone()
    layer(torch.randn(2, 7))
    layer(torch.randn(2, 7)).sum().backward()
    assert torch.equal(norm_of(layer).u, before)


def test_gradient_flows_through_sigma_with_the_vectors_constant() -> None:
    layer = normalised(nn.Linear(4, 3, bias=False, dtype=torch.float64))
    norm, weight = norm_of(layer), layer.parametrizations.weight.original
    upstream = torch.randn(3, 4, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((layer.weight * upstream).sum(), weight)
    sigma = norm.u @ weight.detach() @ norm.v
    closed_form = (upstream - (upstream * weight.detach() / sigma).sum() * torch.outer(norm.u, norm.v)) / sigma
    torch.testing.assert_close(gradient, closed_form)


def test_backward_works_after_a_later_refresh() -> None:
    layer = normalised(nn.Linear(4, 3))
    output = layer(torch.randn(2, 4)).sum()
    spectral_norm.refresh(layer)
    output.backward()
    assert layer.parametrizations.weight.original.grad is not None


def test_eval_makes_one_iteration_and_forgets_it() -> None:
    layer = normalised(nn.Linear(7, 5, dtype=torch.float64)).eval()
    norm, weight = norm_of(layer), layer.parametrizations.weight.original.detach()
    norm.u.normal_()  # as stale as can be
    before = norm.u.clone()
    v = nn.functional.normalize(weight.T @ before, dim=0)
    torch.testing.assert_close(layer.weight.detach(), weight / (weight @ v).norm())
    assert torch.equal(norm.u, before)


def test_vectors_averaged_over_time_are_as_good_as_unit_ones() -> None:
    layer = normalised(nn.Linear(7, 5)).eval()
    expected = layer.weight.detach().clone()
    norm_of(layer).u.mul_(0.01)
    torch.testing.assert_close(layer.weight.detach(), expected)


def test_autocast_does_not_reach_sigma() -> None:
    layer = normalised(nn.Linear(64, 64))
    expected = layer.weight.detach()
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.weight.dtype == torch.float32
        assert torch.equal(layer.weight, expected)
        before = norm_of(layer).u.clone()
        spectral_norm.refresh(layer)
    with_autocast = norm_of(layer).u.clone()
    norm_of(layer).u.copy_(before)
    spectral_norm.refresh(layer)
    assert torch.equal(norm_of(layer).u, with_autocast)


def test_half_precision_weights_are_measured_in_float32() -> None:
    layer = normalised(nn.Linear(64, 64).to(torch.bfloat16))
    assert norm_of(layer).u.dtype == torch.float32
    assert layer.weight.dtype == torch.bfloat16


def test_fold_leaves_plain_weights_of_eval_mode() -> None:
    network = normalised(nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 2)))
    x = torch.randn(3, 7)
    expected = network.eval()(x)
    network.train()
    spectral_norm.fold(network)
    assert list(network.state_dict()) == ["0.bias", "0.weight", "1.bias", "1.weight"] and not parametrize.is_parametrized(network[0])
    assert torch.equal(network(x), expected)


def test_more_iterations_per_refresh_come_nearer() -> None:
    weight = torch.randn(30, 30, generator=torch.Generator().manual_seed(0))
    largest = torch.linalg.svdvals(weight)[0]
    errors = []
    for iterations in (1, 20):
        norm = spectral_norm.SpectralNorm(weight, iterations=iterations)
        norm.u.fill_(30**-0.5)
        norm.refresh(weight)
        errors.append((largest - norm.sigma(weight)).abs())
    assert errors[1] < errors[0] / 2
