"""BigBiGAN's networks: shapes, sizes, the reversible encoder against its plain form, and another project's generator."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from biggan_scale.config import ConfigError, ImageSpec
from biggan_scale.export.importers import biggan_pytorch
from biggan_scale.export.importers.biggan_pytorch import Overrides
from biggan_scale.networks.bigbigan import (
    Encoder,
    EncoderConfig,
    Generator,
    GeneratorConfig,
    JointDiscriminator,
    JointDiscriminatorConfig,
)
from biggan_scale.nn.reversible import ReversibleStack

PORT = Path(__file__).parents[1] / "compat" / "bigbigan" / "port_r64"


def spec(resolution: int, channels: int = 3) -> ImageSpec:
    return ImageSpec(resolution, resolution, channels, 0)


def encoder(image_spec: ImageSpec, **options: Any) -> Encoder:
    return Encoder(EncoderConfig(**{"channels": 2, "mlp_width": 8, "mlp_blocks": 1, **options}), image_spec, 6)


@pytest.mark.parametrize("reversible", [False, True])
@pytest.mark.parametrize(("resolution", "side"), [(32, 4), (64, 4), (128, 4), (256, 8)])
def test_every_resolution_is_encoded(resolution: int, side: int, reversible: bool) -> None:
    E = encoder(spec(resolution), reversible=reversible, blocks=(2, 1, 1, 1))
    images = torch.randn(2, 3, resolution, resolution)
    h = E.stem(images)
    for stage in E.stages:
        h = stage(h)
    assert h.shape == (2, 8 * 4 * 2, side, side)
    assert E.features(images).shape == (2, E.num_features) == (2, 64)
    assert E(images).shape == (2, 6)


@pytest.mark.parametrize(("resolution", "num_stages"), [(32, 2), (32, 3), (64, 3), (64, 4)])
def test_small_images_end_at_4x4_whatever_the_number_of_stages_and_no_pixel_is_passed_over(resolution: int, num_stages: int) -> None:
    E = encoder(spec(resolution), blocks=(1,) * num_stages)
    images = torch.randn(1, 3, resolution, resolution, requires_grad=True)
    h = E.stem(images)
    h.square().sum().backward()
    assert (images.grad != 0).all()
    for stage in E.stages:
        h = stage(h)
    assert h.shape[2:] == (4, 4)


@pytest.mark.parametrize("resolution", [32, 64, 128])
def test_every_resolution_is_generated_and_judged(resolution: int) -> None:
    G = Generator(GeneratorConfig(channels=2, shared_dim=6), spec(resolution), 3 * {32: 4, 64: 5, 128: 6}[resolution])
    images = G(torch.randn(2, 3 * {32: 4, 64: 5, 128: 6}[resolution]))
    assert images.shape == (2, 3, resolution, resolution)
    D = JointDiscriminator(JointDiscriminatorConfig(channels=2, mlp_width=8, mlp_blocks=1), spec(resolution), 6, ("xz", "x", "z"))
    assert {name: score.shape for name, score in D(images, torch.randn(2, 6)).items()} == {"xz": (2,), "x": (2,), "z": (2,)}


def test_sizes_are_those_of_resnet_50_and_of_the_papers_features() -> None:
    with torch.device("meta"):
        resnet = Encoder(EncoderConfig(), spec(256), 120)
        revnet = Encoder(EncoderConfig(reversible=True, width=4), spec(256), 120)
    body = sum(p.numel() for p in resnet.parameters()) - sum(
        p.numel() for part in (resnet.mlp, resnet.mean, resnet.spread) for p in part.parameters()
    )
    assert body == pytest.approx(23.5e6, rel=0.01)  # ResNet-50 without its classifier
    assert (resnet.num_features, revnet.num_features) == (2048, 8192)  # the paper's pooled features
    assert sum(1 for module in resnet.modules() if isinstance(module, nn.Conv2d)) - len(resnet.stages) == 49  # the shortcuts left out


def test_encoder_with_reversible_stages_computes_what_their_plain_form_does() -> None:
    E = encoder(spec(32), reversible=True, blocks=(3, 2)).double()
    images, eps = torch.randn(4, 3, 32, 32).double(), torch.randn(4, 6).double()
    stacks = [module for module in E.modules() if isinstance(module, ReversibleStack)]
    assert [len(stack.blocks) for stack in stacks] == [2, 1]

    def gradients() -> list[Tensor]:
        return list(torch.autograd.grad(E.sample(images, eps).square().sum(), list(E.parameters())))

    reversible = gradients()
    for stack in stacks:
        stack.forward = nn.Sequential(*stack.blocks).forward
    torch.testing.assert_close(reversible, gradients(), rtol=1e-8, atol=1e-9)


def test_without_blocks_there_is_no_encoder() -> None:
    with pytest.raises(ConfigError, match=r"blocks \[3, 0\]: at least one stage, each with at least one block"):
        EncoderConfig(blocks=(3, 0))


def test_generator_ported_by_another_project_gives_its_outputs() -> None:
    # The port has 1000 equal class embeddings where the original, and this Generator, have one.
    overrides = Overrides(bn_eps=1e-4, sn_eps=1e-4)
    state = biggan_pytorch.read(PORT / "BigBiGAN_x1.pth")
    assert (state["shared.weight"] == state["shared.weight"][0]).all()
    found = biggan_pytorch.convert(state, overrides, "", "BigBiGAN_x1.pth")
    config = GeneratorConfig(**dataclasses.asdict(found.network.config))
    G = Generator(config, dataclasses.replace(found.spec, num_classes=0), found.latent_dim)
    weights = found.network.state_dict()
    weights["embed.weight"] = weights["embed.weight"][:1]
    G.load_state_dict(weights)
    vectors = load_file(PORT / "vectors.safetensors")
    (call,) = json.loads((PORT / "manifest.json").read_text())["calls"]
    with torch.no_grad():
        images = G.eval()(vectors["in/z"])
    torch.testing.assert_close(images, vectors["out/G"], rtol=0, atol=call["outputs"]["out"]["accept_atol"])
