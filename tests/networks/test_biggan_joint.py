from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from biggan_scale.config import ConfigError, ImageSpec
from biggan_scale.networks.biggan_joint import Generator, GeneratorConfig

SPEC = ImageSpec(32, 32, 3, 0)


def generator() -> Generator:
    return Generator(GeneratorConfig(channels=2, shared_dim=6, categories=5), SPEC, 12 + 5).eval()


def test_a_category_acts_as_biggans_class_does() -> None:
    G = generator()
    z, labels = torch.randn(3, 12), torch.tensor([0, 4, 2])
    joint = torch.cat([z, F.one_hot(labels, 5).float()], dim=1)
    torch.testing.assert_close(G(joint), G.synthesize(z, G.embed(labels)))
    other = torch.cat([z, F.one_hot(labels.roll(1), 5).float()], dim=1)
    assert not torch.allclose(G(joint), G(other))


def test_chunks_are_cut_from_what_is_beside_the_code() -> None:
    assert generator().chunk == 12 // 4


def test_a_latent_with_nothing_beside_its_code_is_refused() -> None:
    with pytest.raises(ConfigError, match="a latent of 5 leaves nothing beside its 5 categories"):
        Generator(GeneratorConfig(categories=5), SPEC, 5)
