"""Pages over pages under the command line: what wins, where it is from, and that a configuration survives being written down."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from biggan_scale.config import ConfigError, Duration, Schedule, config_from_tree, load_config, pages, to_tree


def test_page_becomes_typed_values(page: Path) -> None:
    config = load_config("page.yaml").config
    assert config.until == Duration(10, "rounds")
    assert config.data.resolution == 32
    assert config.optim["D"].lr == Schedule.constant(2e-4)
    assert config.optim["D"].betas == (0.0, 0.999)
    assert all(type(beta) is float for beta in config.optim["D"].betas)
    assert (config.game.type, config.game.config.generator.type) == ("gan", "biggan")
    assert config.game.config.generator.config.channels == 4
    assert config.ema.decay == 0.9999


def test_overrides_win_and_are_typed_by_yaml(page: Path) -> None:
    config = load_config(
        "page.yaml",
        ["batch_size=64", "optim.G.lr={from: 1e-3, to: 0, end: 1 kimg}", "data.resolution=[32, 64]", "ema.decay=", "ema.half_life=10 kimg"],
    ).config
    assert config.batch_size == 64
    assert config.optim["G"].lr == Schedule(1e-3, 0.0, end=Duration(1, "kimg"))
    assert config.data.resolution == (32, 64)
    assert (config.ema.decay, config.ema.half_life) == (None, Duration(10, "kimg"))


def test_later_override_wins(page: Path) -> None:
    assert load_config("page.yaml", ["seed=1", "seed=2"]).config.seed == 2


@pytest.mark.parametrize(
    "overrides",
    [["game.prior.type=truncated", "game.prior.threshold=1"], ["game.prior.threshold=1", "game.prior.type=truncated"]],
    ids=["type first", "type last"],
)
def test_another_type_replaces_the_settings_below_it_but_not_those_beside_it(page: Path, overrides: list[str]) -> None:
    prior = load_config("page.yaml", overrides).config.game.config.prior
    assert (prior.type, prior.config.threshold) == ("truncated", 1.0)
    assert prior.config.dim == 128  # the default: 16 was said of the other prior


def test_bases_are_merged_in_order_under_the_page(page: Path) -> None:
    Path("one.yaml").write_text("seed: 1\nmicro_batch: 1\nmax_bad_rounds: 1\n")
    Path("sub").mkdir()
    Path("sub/two.yaml").write_text("base: three\nmicro_batch: 2\nmax_bad_rounds: 2\n")
    Path("sub/three.yaml").write_text("seed: 3\n")
    page.write_text(f"base: [one, sub/two.yaml]\nmax_bad_rounds: 5\n{page.read_text()}")
    loaded = load_config("page.yaml")
    assert (loaded.config.seed, loaded.config.micro_batch, loaded.config.max_bad_rounds) == (3, 2, 5)
    assert loaded.origins["seed"] == "sub/three.yaml:1"
    assert loaded.origins["micro_batch"] == "sub/two.yaml:2"
    assert loaded.origins["max_bad_rounds"] == "page.yaml:2"


def test_base_may_be_a_page_of_the_project(page: Path) -> None:
    page.write_text(f"base: base/run\n{page.read_text()}")
    assert load_config("page.yaml").config.precision == "bf16"


def test_base_loop_is_found(page: Path) -> None:
    Path("a.yaml").write_text("base: b.yaml\n")
    Path("b.yaml").write_text("base: page.yaml\n")
    page.write_text("base: a.yaml\n")
    with pytest.raises(ConfigError) as caught:
        load_config("page.yaml")
    assert str(caught.value) == "b.yaml: base goes round in a loop: page.yaml -> a.yaml -> b.yaml -> page.yaml"


def test_many_bases_in_common_cost_no_more_than_one(page: Path) -> None:
    for i in range(60):
        Path(f"p{i}.yaml").write_text(f"base: [p{i + 1}, p{i + 1}]\n")  # 2**60 ways down
    Path("p60.yaml").write_text("seed: 7\n")
    page.write_text(f"base: p0\n{page.read_text()}")
    assert load_config("page.yaml").config.seed == 7


def test_origins_name_every_value(page: Path) -> None:
    loaded = load_config("page.yaml", ["optim.G.lr=1e-5"])
    assert loaded.origins["batch_size"] == "page.yaml:3"
    assert loaded.origins["game.generator.channels"] == "page.yaml:7"
    assert loaded.origins["optim.G.lr"] == "command line"
    assert loaded.origins["optim.G.weight_decay"] == loaded.origins["checkpoint.keep"] == "default"


@pytest.mark.parametrize("name", [name for name in pages.names() if not name.startswith("base/")])
def test_every_shipped_page_survives_being_written_down(name: str, tmp_path: Path) -> None:
    loaded = load_config(name)
    copy = tmp_path / "config.yaml"
    for origins in (False, True):
        copy.write_text(loaded.to_yaml(origins))
        assert load_config(str(copy)).config == loaded.config
    assert config_from_tree(loaded.tree, "config.json") == loaded.config
    assert config_from_tree(json.loads(json.dumps(loaded.tree)), "config.json") == loaded.config


def test_schedules_and_lists_survive_being_written_down(page: Path) -> None:
    lr = "optim.D.lr={from: 1e-4, to: 1e-30, start: 0.5 kimg, end: 3 rounds, shape: exponential}"
    config = load_config("page.yaml", [lr, "game.generator.attention=[16, 32]", "run_dir='# a: [b], \"c\" \\'"]).config
    assert to_tree(config)["optim"]["D"]["lr"] == {
        "from": 1e-4,
        "to": 1e-30,
        "end": "3 rounds",
        "start": "0.5 kimg",
        "shape": "exponential",
    }
    assert config_from_tree(to_tree(config), "x") == config


def test_printed_page_shows_each_origin(page: Path) -> None:
    lines = load_config("page.yaml", ["seed=5"]).to_yaml(origins=True).splitlines()
    assert [line for line in lines if line.startswith(("seed", "batch_size", "precision"))] == [
        "batch_size: 8             # page.yaml:3",
        "seed: 5                   # command line",
        "precision: fp32           # default",
    ]


def test_damaged_saved_configuration_names_its_file(page: Path) -> None:
    plain = to_tree(load_config("page.yaml").config)
    plain["ema"]["decay"] = "much"
    with pytest.raises(ConfigError) as caught:
        config_from_tree(plain, "export/config.json")
    assert str(caught.value) == "export/config.json: ema.decay: expected a number, got 'much'"


def test_configurations_compare_by_value(page: Path) -> None:
    first, second = load_config("page.yaml").config, load_config("page.yaml").config
    assert first == second
    assert first != dataclasses.replace(first, seed=1)


@pytest.mark.parametrize("override", ["seed=1", "game.generator.channels=x"], ids=["good", "bad"])
def test_loading_imports_neither_torch_nor_numpy(page: Path, override: str) -> None:
    code = (
        "import sys; from biggan_scale.config import ConfigError, load_config\n"
        f"try: load_config('page.yaml', [{override!r}])\n"
        "except ConfigError as error: assert 'channels' in str(error)\n"
        "sys.exit(bool({'torch', 'numpy'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(Path(__file__).parents[2])}).returncode == 0
