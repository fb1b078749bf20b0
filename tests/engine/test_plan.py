"""The plan against the real engine: what it holds, what autograd keeps, what a checkpoint weighs."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from biggan_scale.config import load_config
from biggan_scale.config.errors import ConfigError
from biggan_scale.dist.seeds import Noise
from biggan_scale.engine.loop import Engine
from biggan_scale.engine.plan import make_plan
from support.tiny import made_up_batch, shrink, tiny_config

MLP = (
    "batch_size=8", "game.d_steps=1", "game.orthogonal=0", "data.num_classes=0", "game.prior.dim=8",
    "game.generator={type: mlp, width: 16, depth: 1}", "game.discriminator={type: mlp, width: 16, depth: 1}",
)  # fmt: skip


def size(tensors: object) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)  # type: ignore[attr-defined]


def test_bytes_are_those_of_the_engine() -> None:
    config = tiny_config("precision=fp32")
    plan, state = make_plan(config, 1), Engine(config, torch.device("cpu")).state_dict()
    assert plan.weights == size(state.model.values())
    assert plan.optimizer == size(state.optim.values())
    assert plan.ema == size(state.ema.values())
    assert plan.checkpoint == plan.weights + plan.optimizer + plan.ema


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_activations_are_what_autograd_keeps_of_real_tensors(precision: str) -> None:
    config = tiny_config(f"precision={precision}")
    engine = Engine(config, torch.device("cpu"))
    batch = made_up_batch(config, 0, 8, torch.float32)
    lasting = {t.untyped_storage().data_ptr() for t in (*engine.game.parameters(), *engine.game.buffers())}
    most = 0
    for move in engine.game.moves(engine.clock):
        kept: dict[int, torch.Tensor] = {}
        for parameter in engine.optimizers[move.player].parameters.values():
            parameter.requires_grad_(True)
        draw = engine.game.draw(move, batch, Noise(0, batch.positions, move.name))
        with (
            saved_tensors_hooks(lambda t, kept=kept: kept.setdefault(t.untyped_storage().data_ptr(), t.detach()), lambda t: t),
            engine.precision.autocast(),
        ):
            terms = engine.game.loss(move, batch, draw)
        del terms
        engine.game.requires_grad_(False)
        most = max(most, sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in lasting))
    assert make_plan(config, 1).activations == pytest.approx(most, rel=0.05)


def test_flops_are_those_counted_by_hand() -> None:
    """A generator of one linear layer and a discriminator of two: 2 * in * out for each image and product, twice that for a backward."""
    config = load_config("tiny", list(MLP)).config
    pixels, width, dim = 32 * 32 * 3, 16, 8
    g, d = 2 * (dim * width + width * pixels), 2 * (pixels * width + width * 1)
    inputs = 2 * pixels * width  # what D's first product costs for its input's gradient, which only G's move needs
    d_move = g + 2 * (d + 2 * d - inputs)  # no gradient of G; D sees real and generated images
    g_move = (g + 2 * g - 2 * dim * width) + (d + (d - inputs) + inputs)  # through D to its input, none for its weights
    assert make_plan(config, 1).flops_per_image == pytest.approx(d_move + g_move, rel=1e-6)


def test_biggan_128_has_the_papers_parameters() -> None:
    page = ["data.path=x", "data.resolution=128", "data.num_classes=1000", "game.prior.dim=120", "game.generator.shared_dim=128"]
    config = load_config("base/biggan", [*page, "run_dir=x", "until=1 Mimg", "batch_size=2048"]).config
    plan = make_plan(config, 8, "a100-80gb")
    assert plan.parameters["G"] == pytest.approx(70.4e6, rel=0.002)  # Brock et al. 2019, table 4
    assert plan.parameters["D"] == pytest.approx(88.0e6, rel=0.002)


def test_penalties_that_differentiate_twice_are_planned_whether_they_are_compiled_or_not() -> None:
    plans = [make_plan(shrink(load_config("stylegan2_tiny", [f"game.compile_r1={value}"]).config), 1) for value in ("false", "true")]
    assert plans[0].flops_per_image > 0
    assert plans[1] == plans[0]


def test_ranks_share_the_batch_and_pay_for_messages() -> None:
    config = tiny_config("precision=fp32")
    one, two = make_plan(config, 1), make_plan(config, 2)
    assert (one.micro_batch, two.micro_batch) == (8, 4)
    assert one.buckets == one.reduced_per_round == 0
    assert two.buckets == 4 * sum(two.parameters.values())
    assert two.reduced_per_round == 4 * (2 * two.parameters["D"] + two.parameters["G"])  # d_steps is 2


def test_what_is_too_large_is_told_with_what_fits() -> None:
    config = tiny_config("precision=fp32", "batch_size=65536")
    plan = make_plan(config, 1, "v100-16gb")
    assert plan.fits is False
    assert plan.max_micro_batch
    smaller = make_plan(tiny_config("precision=fp32", "batch_size=65536", f"micro_batch={plan.max_micro_batch}"), 1, "v100-16gb")
    assert smaller.fits and smaller.peak <= 0.9 * 16e9
    above = make_plan(tiny_config("precision=fp32", "batch_size=65536", f"micro_batch={2 * plan.max_micro_batch}"), 1)
    assert above.peak > 0.9 * 16e9


@pytest.mark.parametrize(("device", "said"), [("a100-40g", "did you mean 'a100-40gb'"), ("v100-16gb", "no fast bf16")])
def test_unknown_device_or_precision_is_one_line(device: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_plan(tiny_config("precision=bf16"), 1, device)
