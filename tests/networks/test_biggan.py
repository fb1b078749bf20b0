from typing import Any

import pytest
import torch
from torch import Tensor, nn

from biggan_scale.config import ConfigError, ImageSpec
from biggan_scale.networks.biggan import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from biggan_scale.nn import spectral_norm

NUM_CHUNKS = {32: 4, 64: 5, 128: 6, 256: 7, 512: 8}


def spec(resolution: int = 32, channels: int = 3, num_classes: int = 5) -> ImageSpec:
    return ImageSpec(resolution, resolution, channels, num_classes)


def generator(image_spec: ImageSpec, **options: Any) -> Generator:
    config = GeneratorConfig(**{"channels": 2, "shared_dim": 6, **options})
    return Generator(config, image_spec, 3 * NUM_CHUNKS[image_spec.resolution])


def discriminator(image_spec: ImageSpec, **options: Any) -> Discriminator:
    return Discriminator(DiscriminatorConfig(**{"channels": 2, **options}), image_spec)


def inputs(image_spec: ImageSpec, batch: int = 2) -> tuple[Tensor, Tensor | None]:
    labels = torch.arange(batch) % image_spec.num_classes if image_spec.num_classes else None
    return torch.randn(batch, 3 * NUM_CHUNKS[image_spec.resolution]), labels


@pytest.mark.parametrize("resolution", NUM_CHUNKS)
def test_every_resolution_generates_and_is_judged(resolution: int) -> None:
    image_spec = spec(resolution)
    G, D = generator(image_spec), discriminator(image_spec)
    z, y = inputs(image_spec)
    images = G(z, y)
    assert images.shape == (2, 3, resolution, resolution) and images.abs().max() <= 1
    scores = D(images, y)
    assert scores.shape == (2,)
    scores.sum().backward()
    assert all(p.grad is not None for network in (G, D) for p in network.parameters())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("num_classes", [0, 5])
@pytest.mark.parametrize("options", [{"hierarchical": True}, {"hierarchical": False}, {"hierarchical": False, "shared_dim": 0}], ids=str)
def test_grey_or_rgb_with_or_without_classes(channels: int, num_classes: int, options: dict[str, Any]) -> None:
    image_spec = spec(channels=channels, num_classes=num_classes)
    z, y = inputs(image_spec)
    images = generator(image_spec, **options)(z, y)
    assert images.shape == (2, channels, 32, 32)
    assert discriminator(image_spec)(images, y).shape == (2,)


def test_sizes_are_the_papers() -> None:
    """Table 1 of the paper: 158.3 M parameters with ch 96, shared embedding and skip-z, at 128 px; the public code prints the parts."""
    with torch.device("meta"):
        image_spec = spec(128, num_classes=1000)
        G = Generator(GeneratorConfig(channels=96, attention=(64,), init="normal", spectral_norm=False), image_spec, 120)
        D = Discriminator(DiscriminatorConfig(channels=96, attention=(64,), init="normal", spectral_norm=False), image_spec)
    assert [sum(p.numel() for p in network.parameters()) for network in (G, D)] == [70_433_988, 87_982_370]


def test_chunks_of_z_enter_where_they_should() -> None:
    image_spec = spec()
    G = generator(image_spec).eval()
    z, y = inputs(image_spec, 1)
    z.requires_grad_(True)
    features = {}
    G.linear.register_forward_hook(lambda *call: features.update(linear=call[2]))
    for i, block in enumerate(G.blocks):
        block.register_forward_hook(lambda *call, i=i: features.update({str(i): call[2]}))
    G(z, y)
    reached = {
        name: torch.autograd.grad(value.sum(), z, retain_graph=True)[0][0].ne(0).view(4, 3).any(1) for name, value in features.items()
    }
    assert reached["linear"].tolist() == [True, False, False, False]
    assert reached["0"].tolist() == [True, True, False, False]
    assert reached["2"].tolist() == [True, True, True, True]


def test_synthesize_takes_embedded_labels() -> None:
    image_spec = spec()
    G = generator(image_spec).eval()
    z, y = inputs(image_spec)
    assert torch.equal(G.synthesize(z, G.embed(y)), G(z, y))


def test_the_score_is_linear_in_the_features_plus_the_projection() -> None:
    image_spec = spec()
    D = discriminator(image_spec).double()
    images, y = torch.rand(4, 3, 32, 32, dtype=torch.float64) * 2 - 1, torch.tensor([0, 1, 4, 4])
    h = D.features(images)
    assert h.shape == (4, D.num_features)
    expected = h @ D.linear.weight[0] + D.linear.bias + (D.embed.weight[y] * h).sum(1)
    torch.testing.assert_close(D(images, y), expected)


def test_attention_follows_the_blocks_of_its_resolution() -> None:
    G, D = generator(spec(), attention=(8, 32)), discriminator(spec(), attention=(8,))
    assert list(G.attention) == ["0", "2"]
    assert list(D.attention) == ["1", "2", "3"]  # 32 px are halved twice: 16, 8, 8, 8
    assert list(discriminator(spec(64), channels=4, attention=(16, 4)).attention) == ["1", "3", "4"]


@pytest.mark.parametrize("options", [{"attention": (16,)}, {"shared_dim": 0, "hierarchical": False}], ids=str)
def test_gradient_penalties_reach_every_weight(options: dict[str, Any]) -> None:
    """Second derivatives through both networks: R1 on D, a path-length-like penalty on G."""
    torch.manual_seed(0)
    image_spec = spec()
    G, D = generator(image_spec, **options).double(), discriminator(image_spec, attention=options.get("attention", ())).double()
    for network in (G, D):
        for layer in network.attention.values():
            nn.init.ones_(layer.gamma)
    z, y = inputs(image_spec)
    z = z.double().requires_grad_(True)
    images = G(z, y)
    (by_z,) = torch.autograd.grad((images * torch.randn_like(images)).sum(), z, create_graph=True)
    by_z.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for name, p in G.named_parameters() if name != "output.bias")
    images = images.detach().requires_grad_(True)
    (by_images,) = torch.autograd.grad(D(images, y).sum(), images, create_graph=True)
    by_images.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for name, p in D.named_parameters() if name not in ("linear.bias",))


def test_channels_last_and_bfloat16_stay_near() -> None:
    torch.manual_seed(0)
    image_spec = spec()
    G, D = generator(image_spec, channels=4, attention=(16,)), discriminator(image_spec, channels=4, attention=(16,))
    z, y = inputs(image_spec, 8)
    images = G(z, y)
    scores = D(images, y)
    for network in (G, D):
        network.to(memory_format=torch.channels_last)
    torch.testing.assert_close(G(z, y), images, rtol=0, atol=1e-4)
    torch.testing.assert_close(D(images, y), scores, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        low = G(z, y)
        assert (low.float() - images).abs().mean() < 0.02
        torch.testing.assert_close(D(images, y).float(), scores, rtol=0.05, atol=0.05)


def test_folding_keeps_what_eval_mode_generates() -> None:
    image_spec = spec()
    G = generator(image_spec, attention=(16,)).eval()
    z, y = inputs(image_spec)
    expected = G(z, y)
    spectral_norm.fold(G)
    assert torch.equal(G(z, y), expected)
    assert not any("parametrizations" in name for name in G.state_dict())


def test_embeddings_of_the_generator_are_not_normalised() -> None:
    names = [name for name, _ in generator(spec()).named_parameters()]
    assert "embed.weight" in names and "linear.parametrizations.weight.original" in names
    names = [name for name, _ in discriminator(spec()).named_parameters()]
    assert "embed.parametrizations.weight.original" in names


def test_networks_without_spectral_norm_have_plain_weights() -> None:
    networks = generator(spec(), spectral_norm=False), discriminator(spec(), spectral_norm=False)
    assert not any("parametrizations" in name for network in networks for name in network.state_dict())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Generator(GeneratorConfig(), spec(128), 128), "a latent of 128 cannot be cut into 6 equal chunks .*; nearest: 126 or 132"),
        (lambda: generator(spec(), shared_dim=0), "hierarchical needs a shared class embedding"),
        (lambda: discriminator(spec(48)), "data.resolution 48: BigGAN is defined for 32, 64, 128, 256, 512"),
        (lambda: discriminator(ImageSpec(32, 64, 3, 0)), "32 x 64 is not square"),
        (lambda: generator(spec(), attention=(64,)), "generator: attention at 64 px, but its blocks end at 8, 16, 32 px"),
        (lambda: discriminator(spec(64), attention=(32,)), "discriminator: attention at 32 px would have 2 channels, fewer than 8"),
        (lambda: GeneratorConfig(channels=0), "channels 0 must be at least 1"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(build, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        build()
    assert "\n" not in str(error.value)
