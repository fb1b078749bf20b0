import torch

from biggan_scale.dist.reduce import all_reduce_sum
from support.ranks import run_ranks


def derivatives() -> list[float]:
    """x_0 = 2, x_1 = 3; y = x_0 + x_1; each rank's loss is y^3, so the loss over ranks is 2 y^3."""
    x = torch.tensor(2.0 + torch.distributed.get_rank(), dtype=torch.float64, requires_grad=True)
    y = all_reduce_sum(x)
    (first,) = torch.autograd.grad(y**3, x, create_graph=True)
    (second,) = torch.autograd.grad(first, x)
    return [y.item(), first.item(), second.item()]


def test_sum_over_ranks_can_be_differentiated_twice() -> None:
    # y = 5, d(2 y^3)/dx = 6 y^2 = 150. The second derivative differentiates the sum of both ranks' firsts: 2 * 12 y = 120.
    assert run_ranks(2, derivatives) == [[5, 150, 120], [5, 150, 120]]


def test_one_rank_gets_its_own_tensor_back() -> None:
    x = torch.ones(3)
    assert all_reduce_sum(x) is x
