"""Weights of BigGAN-PyTorch do here what they do there: outputs, training-mode buffers, one resumed training step."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from biggan_scale.config import CheckpointError, ConfigError, build, config_from_tree
from biggan_scale.export.importers import biggan_pytorch, import_checkpoint, parse
from biggan_scale.export.importers._biggan import Imported
from biggan_scale.export.importers.biggan_pytorch import Overrides
from biggan_scale.export.load import load
from biggan_scale.nn import spectral_norm
from biggan_scale.nn.sync_norm import BatchNorm

COMPAT = Path(__file__).parents[1] / "compat"
CASES = {folder.name: folder for folder in sorted((COMPAT / "biggan_pytorch").iterdir())}
CALLS = {case: json.loads((folder / "manifest.json").read_text())["calls"] for case, folder in CASES.items()}


@cache
def vectors(case: str) -> dict[str, Tensor]:
    return load_file(CASES[case] / "vectors.safetensors")


def manifest(case: str) -> dict[str, Any]:
    return json.loads((CASES[case] / "manifest.json").read_text())


def weights(case: str) -> Path:
    """The folder that project wrote."""
    (folder,) = (CASES[case] / "weights").iterdir()
    return folder


def overrides(case: str, role: str, intended: bool = False) -> Overrides:
    settings = manifest(case)["constructor"][role]["kwargs"]
    literal = bool(settings.get("cross_replica")) and not intended
    return Overrides(bn_eps=settings.get("BN_eps", 1e-5), sn_eps=settings["SN_eps"], adds_gain=literal)


def imported(case: str, which: str, intended: bool = False) -> Imported:
    """which: a file's name, G_ema, G or D."""
    file = weights(case) / f"{which}.pth"
    return biggan_pytorch.convert(biggan_pytorch.read(file), overrides(case, which[0], intended), file.parent.name, file.name)


def run(imported: Imported, vectors: dict[str, Tensor]) -> Tensor:
    y = vectors["in/y"]
    with torch.no_grad():
        return imported.network(vectors["in/z"], y) if imported.role == "G" else imported.network(vectors["in/x"], y)[:, None]


def calls(mode: str) -> list[Any]:
    named = [(case, call) for case, of_case in CALLS.items() for call in of_case if call["name"].split(".")[-1].startswith(mode)]
    return [pytest.param(case, call, id=f"{case}-{call['name']}") for case, call in named]


@pytest.mark.parametrize(("case", "call"), calls("eval"))
def test_eval_mode_gives_their_outputs(case: str, call: dict[str, Any]) -> None:
    which, mode = call["name"].split(".")
    found = imported(case, which, intended=mode == "eval_intended")
    found.network.eval()
    expected = call["outputs"]["out"]
    torch.testing.assert_close(run(found, vectors(case)), vectors(case)[expected["key"]], rtol=0, atol=expected["accept_atol"])


@pytest.mark.parametrize(("case", "call"), calls("train"))
def test_training_mode_gives_their_outputs_and_buffers(case: str, call: dict[str, Any]) -> None:
    which, _ = call["name"].split(".")
    found = imported(case, which)
    network = found.network.train()
    spectral_norm.refresh(network)
    if case == "r32_mybn_standing":  # 5 batches are in the averages; there the 6th is added to the sums
        for norm in (module for module in network.modules() if isinstance(module, BatchNorm)):
            norm.momentum = 1 / 6
    expected = call["outputs"]["out"]
    torch.testing.assert_close(run(found, vectors(case)), vectors(case)[expected["key"]], rtol=0, atol=expected["accept_atol"])

    after = {key.removeprefix(f"after/{which}.train/"): v for key, v in vectors(case).items() if key.startswith(f"after/{which}.train/")}
    assert len(after) > 20
    theirs = biggan_pytorch.renamed(biggan_pytorch.read(weights(case) / f"{which}.pth") | after, Overrides(), [])
    for key, ours in network.state_dict().items():
        if not key.endswith(".v"):  # which that project does not keep
            torch.testing.assert_close(ours, theirs[key], rtol=1e-5, atol=2e-6, msg=lambda m, key=key: f"{key}: {m}")
    for layer, norm in spectral_norm.normalised(network):
        name = next(name for name, module in network.named_modules() if module is layer)
        sigma = after[f"{their_name(name, deep=case.startswith('deep') and which == 'D')}.sv0"][0]
        torch.testing.assert_close(norm.sigma(layer.parametrizations.weight.original.detach()), sigma, rtol=1e-5, atol=1e-6)


def their_name(ours: str, deep: bool = False) -> str:
    """`deep`: of a BigGAN-deep's discriminator, two blocks a resolution."""
    parts = ours.split(".")
    if deep and parts[0] in ("blocks", "attention"):
        stage, block = divmod(int(parts[1]), 2)
        rest = ".".join(parts[2:]).replace("shortcut", "conv_sc")
        return f"blocks.{stage}.{block if parts[0] == 'blocks' else 2}.{rest}"
    match parts[0]:
        case "stem":
            return "input_conv"
        case "output":
            return "output_layer.2"
        case "attention":
            return f"blocks.{parts[1]}.1.{parts[2]}"
        case "blocks":
            rest = ".".join(parts[2:]).replace("norm", "bn").replace("shortcut", "conv_sc")
            return f"blocks.{parts[1]}.0.{rest}"
    return ours


def test_one_training_step_from_their_optimizers_ends_where_theirs_does() -> None:
    """Hinge step of D, hinge step of G, Adam with their moments, average of decay 0.9."""
    case, folder, v = "r32_plain", weights("r32_plain"), vectors("r32_plain")
    given = {key.removeprefix("in/resume."): value for key, value in v.items() if key.startswith("in/resume.")}
    G, D, average = (imported(case, which).network.train() for which in ("G", "D", "G_ema"))
    adam = {role: resumed_adam(network, folder, role) for role, network in (("G", G), ("D", D))}

    spectral_norm.refresh(G), spectral_norm.refresh(D)
    with torch.no_grad():
        fakes = G(given["z_D"], given["y_D"])
    scores = D(torch.cat([fakes, given["x"]]), torch.cat([given["y_D"], given["y_real"]]))
    loss_fake, loss_real = (1 + scores[:4]).relu().mean(), (1 - scores[4:]).relu().mean()
    (loss_fake + loss_real).backward()
    adam["D"].step()
    spectral_norm.refresh(G), spectral_norm.refresh(D)
    loss_G = -D(G(given["z_G"], given["y_G"]), given["y_G"]).mean()
    loss_G.backward()
    adam["G"].step()
    for mean, value in zip(average.state_dict().values(), G.state_dict().values(), strict=True):
        mean.lerp_(value, 0.1)

    losses = {"D_loss_fake": loss_fake, "D_loss_real": loss_real, "G_loss": loss_G}
    for name, loss in losses.items():
        torch.testing.assert_close(loss, v[f"out/resume.{name}"], rtol=0, atol=1e-5)
    for role, network in (("G", G), ("D", D), ("G_ema", average)):
        theirs = {key.split("/", 3)[3]: value for key, value in v.items() if key.startswith(f"after/resume/{role}/")}
        theirs = biggan_pytorch.renamed(theirs, Overrides(), [])
        for key, ours in network.state_dict().items():
            # The gradient of a bias that a batch norm follows is 0 but for rounding, which Adam with beta1 = 0 makes a whole step.
            noise = role != "D" and key.endswith(".bias") and key.startswith(("blocks", "linear")) and "norm" not in key
            if not key.endswith(".v"):
                torch.testing.assert_close(ours, theirs[key], rtol=0, atol=2.2 * 2e-4 if noise else 3e-6, msg=lambda m, k=key: f"{k}: {m}")


def resumed_adam(network: torch.nn.Module, folder: Path, role: str) -> torch.optim.Adam:
    """Adam with the state of their file, which numbers parameters in the order of the state dict."""
    buffers = ("u0", "sv0", "stored_mean", "stored_var")
    names = [key for key in biggan_pytorch.read(folder / f"{role}.pth") if not key.endswith(buffers)]
    ours = {their_parameter(name): parameter for name, parameter in network.named_parameters()}
    adam = torch.optim.Adam([ours[name] for name in names])
    adam.load_state_dict(torch.load(folder / f"{role}_optim.pth", weights_only=True))
    return adam


def their_parameter(ours: str) -> str:
    layer, _, name = ours.replace("parametrizations.weight.original", "weight").rpartition(".")
    return f"{their_name(layer).replace('output_norm', 'output_layer.0')}.{name}"


@pytest.mark.parametrize("case", CASES)
def test_a_folder_becomes_a_game_with_plain_weights(case: str) -> None:
    tree, states, notes = biggan_pytorch.to_game_state(weights(case), overrides(case, "G", intended=True))
    config = config_from_tree(tree, "config.json")
    game = build(config.game, config.image_spec())
    spectral_norm.fold(game)
    for role, state in states.items():
        getattr(game, role).load_state_dict(state)
    assert notes[0].startswith(f"G from {weights(case).name}/G")
    settings = manifest(case)["constructor"]["G"]["kwargs"]
    assert game.G.config.channels == settings["G_ch"] and config.data.num_classes == settings["n_classes"]
    assert config.game.config.prior.config.dim == manifest(case)["derived"]["G_dim_z"]
    expected = by_name(case, "G_ema.eval_intended", "G_ema.eval", "G.eval")
    with torch.no_grad():
        images = game.eval().G(vectors(case)["in/z"], vectors(case)["in/y"])
    torch.testing.assert_close(images, vectors(case)[expected["key"]], rtol=0, atol=expected["accept_atol"])


def by_name(case: str, *names: str) -> dict[str, Any]:
    """The expected output of the first of these calls that the case has."""
    outputs = {call["name"]: call["outputs"] for call in CALLS[case]}
    return next(outputs[name]["out"] for name in names if name in outputs)


def test_the_folders_name_tells_the_training_settings() -> None:
    tree, _, _ = biggan_pytorch.to_game_state(weights("r32_plain"), Overrides())
    assert (tree["batch_size"], tree["game"]["d_steps"], tree["optim"]["D"]["lr"]) == (4, 4, 2e-4)
    assert tree["game"]["generator"]["init"] == "normal"


def test_weights_of_a_folder_can_be_chosen() -> None:
    _, _, notes = biggan_pytorch.to_game_state(weights("r32_plain"), Overrides(weights="G"))
    assert notes[0].endswith("G.pth")
    with pytest.raises(CheckpointError, match=r"no G_best3\.pth; there are D, D_optim, G, G_ema"):
        biggan_pytorch.to_game_state(weights("r32_plain"), Overrides(weights="G_best3"))


def test_dataparallel_prefixes_are_ignored(tmp_path: Path) -> None:
    state = torch.load(weights("r32_plain") / "G.pth", weights_only=True)
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "G.pth")
    assert biggan_pytorch.read(tmp_path / "G.pth").keys() == state.keys()


def test_standing_sums_are_divided_unless_told_not_to() -> None:
    raw = biggan_pytorch.read(weights("r32_mybn_standing") / "G.pth")
    divided = biggan_pytorch.renamed(raw, Overrides(), notes := [])
    kept = biggan_pytorch.renamed(raw, Overrides(standing=False), [])
    torch.testing.assert_close(divided["output_norm.norm.running_var"] * 5, kept["output_norm.norm.running_var"])
    assert len(notes) == 1 and "5 batches" in notes[0]


def test_half_precision_weights_are_widened(tmp_path: Path) -> None:
    state = torch.load(weights("r32_plain") / "G.pth", weights_only=True)
    torch.save({key: value.half() for key, value in state.items()}, tmp_path / "G.pth")
    _, states, _ = biggan_pytorch.to_game_state(tmp_path / "G.pth", Overrides())
    assert {value.dtype for value in states["G"].values()} == {torch.float32}


def test_norms_other_than_batch_norm_are_refused() -> None:
    name = weights("r32_plain").name.replace("GinitN02_DinitN02", "GinitN02_DinitN02_in")
    with pytest.raises(CheckpointError, match="norm_style in is not supported"):
        biggan_pytorch.convert(biggan_pytorch.read(weights("r32_plain") / "G.pth"), Overrides(), name, "G.pth")


def test_cross_replica_weights_come_with_a_note() -> None:
    assert any("add the gain instead" in note for note in imported("r32_cross_replica", "G").notes)


@pytest.mark.parametrize("file", ["G_ema.pth", "persistence_src.pkl", "reduce_eval.pkl", "manifest.json"])
def test_hostile_files_are_refused_and_do_not_run(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as error:
        biggan_pytorch.to_game_state(COMPAT / "hostile" / file, Overrides())
    assert file in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def truncated(path: Path) -> Path:
    path.write_bytes((weights("r64_hier_attn") / "G.pth").read_bytes()[:5000])
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder, "no .pth files"),
        (lambda folder: weights("r32_plain") / "G_optim.pth", "not a state dict of tensors"),
        (lambda folder: weights("r32_plain") / "state_dict.pth", r"refused: it asks for torch.nn.modules.activation.ReLU"),
        (lambda folder: truncated(folder / "G.pth"), "cannot be read as a torch file"),
        (lambda folder: saved(folder / "G.pth", {"some.weight": torch.zeros(1)}), "neither a generator nor a discriminator"),
    ],
    ids=["empty", "optimizer", "objects", "truncated", "other"],
)
def test_what_cannot_be_imported_is_said_in_one_line(make: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message) as error:
        biggan_pytorch.to_game_state(make(tmp_path), Overrides())
    assert "\n" not in str(error.value)


def test_missing_and_misshapen_tensors_are_named(tmp_path: Path) -> None:
    state = biggan_pytorch.read(weights("r32_plain") / "G.pth")
    missing = {key: value for key, value in state.items() if key != "blocks.2.0.conv2.bias"}
    with pytest.raises(CheckpointError, match=r"blocks\.2\.conv2\.bias"):
        biggan_pytorch.convert(missing, Overrides(), "", "G.pth")
    with pytest.raises(CheckpointError, match=r"blocks\.1\.conv1"):
        biggan_pytorch.convert(state | {"blocks.1.0.conv1.weight": torch.zeros(8, 8, 5, 5)}, Overrides(), "", "G.pth")


def test_overrides_are_checked() -> None:
    assert parse(Overrides, ["sn_eps=1e-4", "adds_gain=true"]) == Overrides(sn_eps=1e-4, adds_gain=True)
    with pytest.raises(ConfigError, match="unknown key 'bn_epz'; did you mean 'bn_eps'"):
        parse(Overrides, ["bn_epz=1"])
    with pytest.raises(ConfigError, match="not key=value"):
        parse(Overrides, ["adds_gain"])


def test_an_import_is_an_export_that_loads(tmp_path: Path) -> None:
    notes = import_checkpoint(weights("r32_cross_replica"), "biggan-pytorch", tmp_path / "out")
    assert any("add the gain instead" in note for note in notes)
    case = vectors("r32_cross_replica")
    expected = by_name("r32_cross_replica", "G_ema.eval_intended")
    with torch.no_grad():
        images = load(tmp_path / "out").generator(case["in/z"], case["in/y"])
    torch.testing.assert_close(images, case[expected["key"]], rtol=0, atol=expected["accept_atol"])


def test_a_discriminator_alone_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="only a discriminator"):
        import_checkpoint(weights("r32_plain") / "D.pth", "biggan-pytorch", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unknown_sources_are_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--from bigan: unknown; allowed: biggan-deep-hf, biggan-pytorch, "):
        import_checkpoint(weights("r32_plain"), "bigan", tmp_path / "out")
