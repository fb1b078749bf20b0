from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from biggan_scale import load
from biggan_scale.config import ConfigError
from biggan_scale.dist.seeds import Noise
from biggan_scale.engine.loop import Engine
from biggan_scale.export.load import Model, one_thread
from biggan_scale.latent.truncation import truncated_normal
from export.conftest import Trained
from support.runs import make_run
from support.tiny import tiny_config


@pytest.fixture(scope="module")
def model(trained: Trained) -> Model:
    return load(trained.run)


@torch.no_grad()
def drawn_by_the_engine(engine: Engine, z: Tensor, y: Tensor) -> Tensor:
    """Images of the network as it is trained: its spectral norms not folded."""
    engine.game.eval()
    images = engine.game.averaged()["G"](z, y)
    engine.game.train()
    return images


def latents(seed: int, num: int) -> Tensor:
    return Noise(seed, range(num), "sample").normal(16)


def test_same_seed_same_images_whatever_their_number(model: Model) -> None:
    images = model.sample(16, seed=3)
    assert images.shape == (16, 3, 32, 32)
    assert images.abs().max() <= 1
    for num in (1, 5, 8, 13):
        assert torch.equal(model.sample(num, seed=3), images[:num])
    assert not torch.equal(model.sample(1, seed=4), images[:1])


def test_classes_take_turns(model: Model) -> None:
    labels = torch.tensor([3, 1, 3, 1, 3, 1, 3, 1])
    torch.testing.assert_close(model.sample(8, classes=[3, 1]), model.generator(latents(0, 8), labels))


def test_classes_take_turns_across_chunks(model: Model) -> None:
    labels = [model.chunk(k, 0, None, [0, 1, 2])[1] for k in range(2)]
    assert torch.cat(labels).tolist() == [i % 3 for i in range(16)]


def test_without_classes_labels_are_drawn_from_all(model: Model) -> None:
    labels = torch.cat([model.chunk(k, 0, None, None)[1] for k in range(6)])
    assert set(labels.tolist()) == set(range(5))


def test_truncation_restricts_the_latents(model: Model) -> None:
    labels = torch.full((8,), 2)
    expected = model.generator(truncated_normal(latents(1, 8), 0.5), labels)
    torch.testing.assert_close(model.sample(8, seed=1, truncation=0.5, classes=[2]), expected)


def test_weights_are_the_averages_or_those_of_training(trained: Trained) -> None:
    z, y = latents(0, 8), torch.arange(8) % 5
    raw = drawn_by_the_engine(trained.engine, z, y)
    with trained.engine.ema.applied():
        ema = drawn_by_the_engine(trained.engine, z, y)
    assert (raw - ema).abs().max() > 1e-3
    torch.testing.assert_close(load(trained.run).generator(z, y), ema, rtol=0, atol=2e-6)
    torch.testing.assert_close(load(trained.run, weights="raw").generator(z, y), raw, rtol=0, atol=2e-6)


def test_an_export_draws_the_images_of_its_checkpoint(trained: Trained, model: Model) -> None:
    assert torch.equal(load(trained.export).sample(9, truncation=0.7), model.sample(9, truncation=0.7))


def test_the_network_runs_on_one_thread_and_gives_the_others_back(model: Model) -> None:
    seen = []
    handle = model.generator.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        model.sample(2)
        assert (seen, torch.get_num_threads()) == ([1], 3)
        with pytest.raises(ZeroDivisionError), one_thread():
            _ = 1 / 0
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
        handle.remove()


def test_the_discriminator_takes_no_memory(model: Model) -> None:
    assert all(parameter.is_meta for parameter in model.game.D.parameters())
    assert not any(tensor.is_meta for tensor in model.generator.state_dict().values())


def test_latents_can_be_optimised_and_weights_are_frozen(model: Model) -> None:
    z = latents(0, 2).requires_grad_()
    model.generator(z, torch.tensor([0, 1])).mean().backward()
    assert z.grad is not None
    assert z.grad.abs().max() > 0
    assert not any(parameter.requires_grad for parameter in model.generator.parameters())


def test_a_network_the_game_does_not_have_is_told(model: Model) -> None:
    with pytest.raises(ConfigError, match="no encoder: a gan keeps G"):
        _ = model.encoder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num": 0}, "num 0 must be at least 1"),
        ({"num": 1, "truncation": 0.0}, "truncation 0.0 must be above 0"),
        ({"num": 1, "truncation": float("nan")}, "truncation nan must be above 0"),
        ({"num": 1, "classes": [1, 5]}, r"classes \[5\]: the model has 0 to 4"),
        ({"num": 1, "classes": [-1]}, r"classes \[-1\]: the model has 0 to 4"),
        ({"num": 1, "classes": []}, "classes empty: the model has 0 to 4"),
    ],
)
def test_impossible_requests_are_refused(model: Model, arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        model.sample(**arguments)


def test_a_model_without_classes(tmp_path: Path) -> None:
    make_run(tmp_path, tiny_config("data.num_classes=0", "game.generator.shared_dim=0", "precision=fp32"))
    model = load(tmp_path)
    assert model.sample(3).shape == (3, 3, 32, 32)
    with pytest.raises(ConfigError, match="classes are given, but the model has none"):
        model.sample(3, classes=[0])


def test_a_run_in_double_precision_stays_so(tmp_path: Path) -> None:
    engine = make_run(tmp_path, tiny_config("precision=fp64"))
    z, y = latents(0, 8).double(), torch.arange(8) % 5
    with engine.ema.applied():
        torch.testing.assert_close(load(tmp_path).generator(z, y), drawn_by_the_engine(engine, z, y), rtol=0, atol=1e-12)


def test_standing_statistics_are_means_over_generated_batches(tmp_path: Path) -> None:
    engine = make_run(tmp_path, tiny_config("ema.standing_batches=3", "precision=fp64", "seed=7"))
    model = load(tmp_path)
    assert model.provenance["statistics"] == "standing, 3 batches of 8"
    with engine.ema.applied():
        linear = engine.game.G.eval().linear
        inputs = [linear(Noise(7, range(8 * k, 8 * k + 8), "standing").normal(16)[:, :4].double()).unflatten(1, (-1, 16)) for k in range(3)]
    expected = torch.stack([h.mean((0, 2)) for h in inputs]).mean(0)
    torch.testing.assert_close(model.generator.blocks[0].norm1.norm.running_mean, expected, rtol=0, atol=1e-12)
    assert torch.equal(load(tmp_path).sample(4), model.sample(4))
