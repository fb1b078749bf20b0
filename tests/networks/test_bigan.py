from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from biggan_scale.config import ConfigError, ImageSpec
from biggan_scale.networks.bigan import (
    Encoder,
    EncoderConfig,
    Generator,
    GeneratorConfig,
    JointDiscriminator,
    JointDiscriminatorConfig,
)
from biggan_scale.nn import spectral_norm


@pytest.mark.parametrize("resolution", [16, 32, 64])
def test_every_resolution_generates_encodes_and_is_judged(resolution: int) -> None:
    spec = ImageSpec(resolution, resolution, 3, 0)
    images = Generator(GeneratorConfig(4), spec, 6)(torch.randn(2, 6))
    assert images.shape == (2, 3, resolution, resolution)
    assert images.abs().max() <= 1
    E = Encoder(EncoderConfig(4), spec, 6)
    z = E(images)
    assert z.shape == (2, 6)
    assert E.features(images).shape == (2, E.num_features)
    scores = JointDiscriminator(JointDiscriminatorConfig(4, 8), spec, 6, ("xz", "x"))(images, z)
    assert {name: score.shape for name, score in scores.items()} == {"xz": (2,), "x": (2,)}


@pytest.mark.parametrize("resolution", [4, 8, 48])
def test_other_resolutions_are_refused(resolution: int) -> None:
    with pytest.raises(ConfigError, match=f"data.resolution {resolution}: these networks are defined for 16, 32"):
        Generator(GeneratorConfig(), ImageSpec(resolution, resolution, 3, 0), 6)


def test_stochastic_encoder_draws_from_the_gaussian_it_names() -> None:
    E = Encoder(EncoderConfig(4, "none", stochastic=True), ImageSpec(16, 16, 1, 0), 3)
    images, eps = torch.randn(2, 1, 16, 16), torch.randn(2, 3)
    mean, std = E.posterior(images)
    torch.testing.assert_close(E.sample(images, eps), mean + std * eps)
    torch.testing.assert_close(E(images), mean)
    assert (std > 0).all()
    gradients = torch.autograd.grad(E.sample(images, eps).sum(), [E.mean.weight, E.spread.weight])  # reparameterised: both hear of it
    assert all(gradient.abs().max() > 0 for gradient in gradients)


def test_deterministic_encoder_draws_its_mean() -> None:
    E = Encoder(EncoderConfig(4, "none"), ImageSpec(16, 16, 1, 0), 3)
    images = torch.randn(2, 1, 16, 16)
    mean, std = E.posterior(images)
    assert not E.is_stochastic
    assert torch.equal(E.sample(images, None), mean)
    assert not std.any()


def test_scores_of_x_alone_and_z_alone_do_not_see_the_other() -> None:
    D = JointDiscriminator(JointDiscriminatorConfig(4, 8), ImageSpec(16, 16, 1, 0), 3, ("xz", "x", "z"))
    images, z = torch.randn(2, 1, 16, 16), torch.randn(2, 3)
    before, other_z, other_x = D(images, z), D(images, z + 1), D(images + 1, z)
    assert torch.equal(before["x"], other_z["x"])
    assert torch.equal(before["z"], other_x["z"])
    assert not torch.equal(before["xz"], other_z["xz"])
    assert not torch.equal(before["xz"], other_x["xz"])


def test_every_layer_of_the_discriminator_is_normalised() -> None:
    D = JointDiscriminator(JointDiscriminatorConfig(4, 8), ImageSpec(16, 16, 1, 0), 3, ("xz", "x", "z"))
    layers = {module for module in D.modules() if isinstance(module, (nn.Conv2d, nn.Linear))}
    assert {layer for layer, _ in spectral_norm.normalised(D)} == layers


def test_residual_perceptron_is_its_equation() -> None:
    H = JointDiscriminator(JointDiscriminatorConfig(4, 8, mlp_blocks=2), ImageSpec(16, 16, 1, 0), 3, ("xz",)).scores.H.eval()
    z = torch.randn(2, 3)
    h = z @ H.linear.weight.T + H.linear.bias
    for block in H.blocks:
        inner = F.relu(F.relu(h) @ block.linear1.weight.T + block.linear1.bias)
        h = h + inner @ block.linear2.weight.T + block.linear2.bias
    torch.testing.assert_close(H(z), h.relu())
