"""Weights of other projects' StyleGAN2 and StyleGAN3 give here what they give there; and nothing in a file is executed."""

from __future__ import annotations

import copy
import importlib
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from biggan_scale.config import CheckpointError
from biggan_scale.export.importers import _persistent, import_checkpoint, stylegan2_ada, stylegan2_rosinality, stylegan3
from biggan_scale.export.importers._stylegan2 import Imported
from biggan_scale.export.load import load
from biggan_scale.losses.penalties import squared_gradient

COMPAT = Path(__file__).parents[1] / "compat"
ADA = {folder.name: folder for folder in sorted((COMPAT / "stylegan2_ada").iterdir())}
ALIAS_FREE = {folder.name: folder for folder in sorted((COMPAT / "stylegan3").iterdir())}
ROSINALITY = COMPAT / "rosinality_stylegan2" / "r32"


def outputs_of(folder: Path) -> list[tuple[str, str, float]]:
    """(call, key of an output, tolerance)."""
    calls = json.loads((folder / "manifest.json").read_text())["calls"]
    return [(call["name"], out["key"], out["accept_atol"]) for call in calls for out in call["outputs"].values()]


@cache
def vectors(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "vectors.safetensors")


@cache
def networks(folder: Path, weights: str) -> dict[str, Imported]:
    (file,) = folder.glob("*.pkl")
    importer = importlib.import_module(f"biggan_scale.export.importers.{folder.parent.name}")
    found, _ = importer.convert(_persistent.read(file), weights, file.name)
    return found


def labels(one_hot: Tensor) -> Tensor | None:
    """What those projects give as one-hot rows; without classes these have no columns."""
    if not one_hot.shape[1]:
        return None
    assert torch.equal(one_hot.sum(1), torch.ones(len(one_hot))) and set(one_hot.unique().tolist()) <= {0.0, 1.0}
    return one_hot.argmax(1)


def output(folder: Path, call: str, key: str) -> Tensor:
    v = vectors(folder)
    found = networks(folder, "G" if call.startswith("G.") else "G_ema")
    G, D = found["G"].network, found["D"].network
    z, y, dy = v["in/z"], labels(v["in/c"]), labels(v["in/dc"])
    group = found["D"].config.mbstd_group
    # Every (B / group)-th image is a group there, consecutive ones here: the same groups in another order of the batch.
    there = len(v["in/img"]) // min(group, len(v["in/img"]))
    order = torch.arange(len(v["in/img"])).view(-1, there).T.flatten()
    match call:
        case "mapping":
            return G.broadcast(G.mapping(z, y))
        case "synthesis":
            return G.synthesis(v["in/ws"])
        case "synthesis.none":
            return G.synthesis(v["in/ws"], torch.zeros(len(v["in/ws"]), G.num_noise))
        case "G_ema.cutoff":
            return G(z, y, psi=0.5, cutoff=3)
        case "D":
            return D(v["in/img"][order], None if dy is None else dy[order])[order.argsort()][:, None]
        case "D.first2":
            return D(v["in/img"][:2], None if dy is None else dy[:2])[:, None]
        case "D.r1":
            images = v["in/img"][order].requires_grad_()
            score = D(images, None if dy is None else dy[order])
            if key.endswith("penalty"):
                return squared_gradient(score, images)[order.argsort()]
            return torch.autograd.grad(score.sum(), images)[0][order.argsort()][:1, :, ::2, ::2]
        case "G.psi1" | "G.train":
            return G(z, y)
        case "G.update_emas":
            return updated(folder)[0]
        case "G_ema.transform":
            return transformed(G, v["in/mat"])(z, y)
        case _:
            return G(z, y, psi=float(call.removeprefix("G_ema.psi")))


def transformed(G: Any, matrix: Tensor) -> Any:
    moved = copy.deepcopy(G)
    moved.synthesis.input.transform.copy_(matrix)
    return moved


@cache
def updated(folder: Path) -> tuple[Tensor, Any]:
    """The images of their update of all running means, and G after it. Theirs feeds the means layer by layer, in one pass."""
    v, G = vectors(folder), copy.deepcopy(networks(folder, "G")["G"].network)
    beta = json.loads((folder / "manifest.json").read_text())["constructor"]["G"]["kwargs"]["magnitude_ema_beta"]
    with torch.no_grad():
        w = G.mapping(v["in/z"], labels(v["in/c"]))
        G.w_avg.lerp_(w.mean(0), 1 - 0.998)
        for i in range(len(G.magnitudes)):
            G.magnitudes[i].lerp_(G.observed(G.broadcast(w), None)[1].mean(0)[i], 1 - beta)
        return G.synthesis(G.broadcast(w)), G


@pytest.mark.parametrize(
    ("folder", "call", "key", "atol"),
    [(folder, *one) for folder in (*ADA.values(), *ALIAS_FREE.values()) for one in outputs_of(folder)],
    ids=lambda value: value.name if isinstance(value, Path) else str(value),
)
def test_a_network_pickle_gives_their_outputs(folder: Path, call: str, key: str, atol: float) -> None:
    torch.testing.assert_close(output(folder, call, key), vectors(folder)[key], rtol=0, atol=atol)


@pytest.mark.parametrize("case", ["t_r32_uncond", "r_r32_cond"])
def test_running_means_move_as_theirs(case: str) -> None:
    before, (_, G) = networks(ALIAS_FREE[case], "G")["G"].network, updated(ALIAS_FREE[case])
    after = {name: value for name, value in vectors(ALIAS_FREE[case]).items() if name.startswith("after/")}
    torch.testing.assert_close(G.w_avg, after.pop("after/G.update_emas/mapping.w_avg"), rtol=0, atol=1e-6)
    expected = {int(re.search(r"\.L(\d+)_", name)[1]): value for name, value in after.items()}  # type: ignore[index]
    assert sorted(expected) == list(range(len(G.magnitudes))) and len(after) == 15
    torch.testing.assert_close(G.magnitudes, torch.stack([expected[i] for i in range(15)]), rtol=1e-6, atol=0)
    assert (before.w_avg - G.w_avg).abs().max() > 1e-3 and (before.magnitudes - G.magnitudes).abs().max() > 1e-4


@pytest.mark.parametrize("case", ADA)
def test_the_mean_of_w_moves_as_theirs_in_training(case: str) -> None:
    v = vectors(ADA[case])
    G = networks(ADA[case], "G")["G"].network
    (after,) = (value for name, value in v.items() if name.startswith("after/G.train/") and name.endswith("w_avg"))
    moved = G.w_avg.lerp(G.mapping(v["in/z"], labels(v["in/c"])).mean(0), 1 - 0.995)
    assert (moved - G.w_avg).abs().max() > 1e-3
    torch.testing.assert_close(moved, after, rtol=0, atol=1e-6)


@cache
def rosinality() -> tuple[Any, Any, dict[str, Tensor]]:
    file = ROSINALITY / "000001.pt"
    states = stylegan2_rosinality.read(file)
    G = stylegan2_rosinality.generator(states["g_ema"], file.name).network
    return G, stylegan2_rosinality.discriminator(states["d"], file.name).network, vectors(ROSINALITY)


def rosinality_output(call: str) -> Tensor:
    G, D, v = rosinality()
    match call:
        case "g_ema.trunc":
            return G.synthesis(G.broadcast(v["in/tl"] + 0.6 * (G.mapping(v["in/z"]) - v["in/tl"])))
        case "g_ema.mix":
            first, second = G.broadcast(G.mapping(v["in/z"])), G.broadcast(G.mapping(v["in/z2"]))
            return G.synthesis(torch.cat([first[:, :3], second[:, 3:]], dim=1))
        case "g_ema.latent":
            ws = v["in/lat"]
            return G.synthesis(ws if ws.ndim == 3 else G.broadcast(ws))
        case "g_ema.style":
            return G.mapping(v["in/z"])
        case "d":
            return D(v["in/x"])[:, None]
        case _:
            return G(v["in/z"])


@pytest.mark.parametrize(("call", "key", "atol"), outputs_of(ROSINALITY), ids=str)
def test_a_rosinality_checkpoint_gives_its_outputs(call: str, key: str, atol: float) -> None:
    torch.testing.assert_close(rosinality_output(call), vectors(ROSINALITY)[key], rtol=0, atol=atol)


def test_a_rosinality_import_has_a_mean_of_w() -> None:
    G, _, _ = rosinality()
    with torch.no_grad():
        w = G.mapping(torch.randn(10_000, 12))
    torch.testing.assert_close(G.w_avg, w.mean(0), rtol=0, atol=5 * float(w.std(0).max()) / 100)  # 5 standard errors
    assert G.w_avg.abs().max() > 0.05


@pytest.mark.parametrize(
    ("source", "file"),
    [
        ("stylegan2-ada", next(ADA["r32_cifar_cond"].glob("*.pkl"))),
        ("stylegan2-rosinality", ROSINALITY / "000001.pt"),
        *(("stylegan3", next(folder.glob("*.pkl"))) for folder in ALIAS_FREE.values()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_import_is_an_export_that_samples_with_truncation(source: str, file: Path, tmp_path: Path) -> None:
    notes = import_checkpoint(file, source, tmp_path / "out")
    assert notes[0].startswith("G from")
    model = load(tmp_path / "out")
    full, none = model.sample(2, seed=0), model.sample(2, seed=0, truncation=1.0)
    torch.testing.assert_close(full, none, rtol=0, atol=1e-5)
    assert (model.sample(2, seed=0, truncation=0.3) - full).abs().max() > 0.1 * full.abs().max()
    if source != "stylegan2-rosinality":
        v, atol = vectors(file.parent), outputs_of(file.parent)[0][2]
        with torch.no_grad():
            images = model.generator(v["in/z"], labels(v["in/c"]))
        torch.testing.assert_close(images, v["out/G_ema.psi1"], rtol=0, atol=atol)


@pytest.mark.parametrize("source", ["stylegan2-ada", "stylegan2-rosinality", "stylegan3"])
@pytest.mark.parametrize("file", ["G_ema.pth", "persistence_src.pkl", "reduce_eval.pkl", "manifest.json"])
def test_hostile_files_are_refused_and_do_not_run(source: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as error:
        import_checkpoint(COMPAT / "hostile" / file, source, tmp_path / "out")
    assert file in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_pickle_with_another_filter_or_without_a_tensor_is_refused() -> None:
    file = next(ADA["r32_uncond"].glob("*.pkl"))
    found = _persistent.read(file)
    found["G_ema"].find("synthesis", "b8").state["_buffers"]["resample_filter"] = torch.ones(4, 4) / 16
    with pytest.raises(CheckpointError, match=r"filter is not \[1, 3, 3, 1\]"):
        stylegan2_ada.convert(found, "G_ema", "x.pkl")
    found = _persistent.read(file)
    del found["G_ema"].find("synthesis", "b16", "conv1").state["_parameters"]["weight"]
    with pytest.raises(CheckpointError, match=r"x\.pkl: .*blocks\.1\.conv1\.weight"):
        stylegan2_ada.convert(found, "G_ema", "x.pkl")
    with pytest.raises(CheckpointError, match="no G_ema; there are D, G"):
        stylegan2_ada.convert({name: found[name] for name in ("G", "D")}, "G_ema", "x.pkl")


def test_a_stylegan3_with_other_constants_is_refused() -> None:
    file = next(ALIAS_FREE["t_r32_uncond"].glob("*.pkl"))

    def refused(match: str, change: Callable[[_persistent.Persistent], object]) -> None:
        found = _persistent.read(file)
        change(found["G_ema"].find("synthesis"))
        with pytest.raises(CheckpointError, match=match):
            stylegan3.convert(found, "G_ema", "x.pkl")

    refused(
        r"x\.pkl: the filter synthesis\.layers\.5\.activation\.up_fir is not",
        lambda synthesis: synthesis.find("L5_52_10").state["_buffers"].update(up_filter=torch.ones(24) / 24),
    )
    refused(r"scaled by 1.0; only 0.25", lambda synthesis: synthesis.state.update(output_scale=1.0))
    refused(r"not the shapes .*layers\.12\.weight", lambda synthesis: synthesis.state["_init_kwargs"].update(channel_base=512))
    refused(r"not a StyleGAN3 generator: no 'num_critical'", lambda synthesis: synthesis.state.pop("num_critical"))
    refused(r"not the shapes .*layers\.3\.bias", lambda synthesis: synthesis.find("L3_36_10").state["_parameters"].pop("bias"))


def test_truncated_files_are_refused_in_one_line(tmp_path: Path) -> None:
    for source, file in (("stylegan2-ada", next(ADA["r32_uncond"].glob("*.pkl"))), ("stylegan2-rosinality", ROSINALITY / "000001.pt")):
        short = tmp_path / file.name
        short.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(CheckpointError) as error:
            import_checkpoint(short, source, tmp_path / "out")
        assert "\n" not in str(error.value)
