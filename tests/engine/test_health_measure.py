"""What is measured of a game, and that measuring leaves no trace."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from biggan_scale.engine.health.examples import Examples
from biggan_scale.engine.health.measure import measure_gradients, measure_samples, measure_weights
from biggan_scale.engine.loop import Engine
from biggan_scale.games.base import Clock, Game, Move
from biggan_scale.nn import spectral_norm
from support.tiny import assert_same, play, tiny_config

CPU = torch.device("cpu")


def examples(num: int = 40, seed: int = 0) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (num, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return Examples(images, torch.arange(num) % 5)


@pytest.fixture(scope="module")
def engine() -> Engine:
    made = Engine(tiny_config("precision=fp32"), CPU)
    play(made, 2)
    return made


def test_measuring_leaves_no_trace() -> None:
    looked_at, left_alone = (Engine(tiny_config("precision=fp32"), CPU) for _ in range(2))
    for engine in (looked_at, left_alone):
        play(engine, 2)
    random_state = torch.get_rng_state()
    measure_samples(looked_at, examples(), examples(seed=1))
    measure_weights(looked_at.game)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert_same(looked_at.state_dict(), left_alone.state_dict())
    assert all(module.training for module in looked_at.game.modules())
    for engine in (looked_at, left_alone):
        play(engine, 1)
    assert_same(looked_at.state_dict(), left_alone.state_dict())


def test_a_game_that_changes_buffers_in_eval_mode_gets_them_back(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    generate = type(engine.game).generate

    def careless(game: Game, draw: dict[str, Tensor]) -> Tensor:
        next(game.buffers()).add_(1)
        return generate(game, draw)

    monkeypatch.setattr(type(engine.game), "generate", careless)
    before = [buffer.clone() for buffer in engine.game.buffers()]
    measure_samples(engine, examples(), None)
    assert all(torch.equal(buffer, was) for buffer, was in zip(engine.game.buffers(), before, strict=True))


def test_scores_are_means_of_ds_answers_and_the_same_every_time(engine: Engine) -> None:
    real, held_out = examples(), examples(70, seed=1)
    found = measure_samples(engine, real, held_out)
    assert measure_samples(engine, real, held_out) == found
    game = engine.game.eval()
    with torch.no_grad():
        wanted = [game.D(e.images.float() / 127.5 - 1, e.labels).mean().item() for e in (real, held_out)]
    game.train()
    assert [found["score_real"], found["score_held_out"]] == pytest.approx(wanted, rel=1e-4)
    assert 0 <= found["separation"] <= 1
    assert 0 <= found["memory"] <= 1
    assert "memory" not in measure_samples(engine, real, None)


def test_images_that_follow_from_the_label_alone_have_no_diversity(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.game.prior, "sample", lambda noise, truncation: torch.zeros(len(noise), 16))
    found = measure_samples(engine, examples(), None)
    assert found["diversity"] < 1e-4  # pairs of one class
    assert found["modes"] > 1 / 40


def test_game_without_a_judge_has_no_scores(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(engine.game), "scores", Game.scores)
    assert measure_samples(engine, examples(), examples(seed=1)).keys() == {"diversity", "modes"}


def test_unconditional_game() -> None:
    engine = Engine(tiny_config("precision=fp32", "data.num_classes=0"), CPU)
    found = measure_samples(engine, Examples(examples().images, None), None)
    assert all(math.isfinite(value) for value in found.values())


def test_every_weight_is_measured_as_it_is_stored(engine: Engine) -> None:
    found = measure_weights(engine.game)
    normalised = {id(layer) for layer, _ in spectral_norm.normalised(engine.game)}
    names = {name for name, module in engine.game.named_modules() if id(module) in normalised}
    assert names <= found.keys()
    raw = engine.game.D.linear.parametrizations.weight.original
    assert found["D.linear"] == pytest.approx([raw.norm().item()])
    raw = engine.game.G.blocks[0].conv1.parametrizations.weight.original
    wanted = np.linalg.svd(raw.detach().flatten(1).numpy(), compute_uv=False)[:3]
    assert found["G.blocks.0.conv1"] == pytest.approx(wanted.tolist(), rel=1e-3)
    assert "G.embed" in found and not any(name.endswith((".weight", "original")) for name in found)


class TwoPlayers(Game):
    def __init__(self) -> None:
        super().__init__(None, None)  # type: ignore[arg-type]

    def moves(self, clock: Clock) -> tuple[Move, ...]:
        return Move("D", "D"), Move("D_lazy", "D", every=16), Move("G", "G")


def test_gradient_norms_are_medians_and_overflows_are_left_out() -> None:
    rounds = [{"D/grad_norm": torch.tensor(d), "G/grad_norm": torch.tensor(2.0)} for d in (1.0, 4.0, math.inf, 100.0)]
    found = measure_gradients(TwoPlayers(), Clock(), [*rounds, {}])
    assert found == {"grad_norm/D": 4, "grad_norm/G": 2, "grad_ratio/G": 2}
    assert measure_gradients(TwoPlayers(), Clock(), []) == {}
