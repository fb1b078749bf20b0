from __future__ import annotations

import torch

from biggan_scale.nn.batch_mean import BatchMean
from biggan_scale.nn.pixel_noise import PixelNoise


def test_noise_is_added_by_its_strength_to_every_channel() -> None:
    layer, x, noise = PixelNoise(3, 4), torch.randn(2, 5, 3, 4), torch.randn(2, 12)
    assert layer.num_values == 12
    assert torch.equal(layer(x, noise), x)  # it begins with none
    layer.strength.data.fill_(0.5)
    torch.testing.assert_close(layer(x, noise), x + 0.5 * noise.view(2, 1, 3, 4))
    torch.testing.assert_close(layer(x, None), x + 0.5 * layer.constant)


def test_channels_may_have_strengths_of_their_own() -> None:
    layer, x = PixelNoise(2, 2, channels=3), torch.zeros(1, 3, 2, 2)
    layer.strength.data.copy_(torch.tensor([0.0, 1.0, 2.0]))
    torch.testing.assert_close(layer(x, None)[0], torch.stack([0 * layer.constant, layer.constant, 2 * layer.constant]))


def test_a_batch_mean_does_not_depend_on_the_micro_batches_and_forgets() -> None:
    mean, x = BatchMean(3), torch.randn(10, 3)
    for part in x.split([2, 5, 3]):
        mean.observe(part)
    torch.testing.assert_close(mean.take()[0], x.mean(0))
    assert not mean.total.any() and not mean.count.any()
    mean.observe(x[:1])
    torch.testing.assert_close(mean.take()[0], x[0])
