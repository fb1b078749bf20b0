import torch
from torch import Tensor, nn

from biggan_scale.nn import spectral_norm, standing
from biggan_scale.nn.conditional_norm import AffineNorm
from biggan_scale.nn.sync_norm import BatchNorm


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = AffineNorm(BatchNorm(3))
        self.conv = nn.Conv2d(3, 2, 1)
        self.second = AffineNorm(BatchNorm(2))
        spectral_norm.apply(self, (nn.Conv2d,))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.conv(self.first(x)))


def accumulate(network: Normed, batches: list[Tensor]) -> int:
    return standing.accumulate(network, ((lambda batch=batch: network(batch)) for batch in batches))


def test_standing_statistics_are_the_mean_over_batches_of_any_size() -> None:
    network = Normed().double()
    batches = [torch.randn(n, 3, 4, 4, dtype=torch.float64) * n + n for n in (2, 5, 3)]
    assert accumulate(network, batches) == 3
    torch.testing.assert_close(network.first.norm.running_mean, torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0))
    torch.testing.assert_close(network.first.norm.running_var, torch.stack([b.var((0, 2, 3), correction=0) for b in batches]).mean(0))


def test_everything_else_stays_as_it_was() -> None:
    network = Normed().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    accumulate(network, [torch.randn(2, 3, 4, 4)])
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {f"{layer}.norm.running_{what}" for layer in ("first", "second") for what in ("mean", "var")}
    assert not any(module.training for module in network.modules())
    assert network.first.norm.momentum == 0.1 and network.first.norm.unbiased and network.first.norm.synchronize


def test_earlier_statistics_are_forgotten() -> None:
    network, batch = Normed(), torch.randn(4, 3, 4, 4)
    accumulate(network, [batch])
    once = network.second.norm.running_mean.clone()
    network.second.norm.running_mean.fill_(100)
    accumulate(network, [batch, batch])
    torch.testing.assert_close(network.second.norm.running_mean, once)


def test_no_batches_change_nothing() -> None:
    network = Normed()
    assert accumulate(network, []) == 0
    assert torch.equal(network.first.norm.running_var, torch.ones(3))
