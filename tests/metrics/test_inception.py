"""The network against pytorch-fid's on weights made here, and the resizing against a ramp.

The values are those of pytorch-fid 0.3.0's fid_inception_v3 (torchvision 0.29.2, torch 2.13.0) with the same weights and input; so the
architecture is checked, without the published weights.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from biggan_scale.config import ConfigError
from biggan_scale.metrics.inception import Inception, load, resized

NUM_VALUES = 23_885_392  # parameters and running statistics
FEATURES = [  # every 256th of two images
    [0.014005866, 5.9870729, 1.7699864, 1.5227247, 6.6944051, 0.69366574, 0.80532438, 0.28515491],
    [0.0072289375, 6.0662751, 1.7612628, 1.5102971, 6.7068534, 0.76573831, 0.82562423, 0.2758567],
]
SUMS = [6604.344725, 6646.032892]  # of all 2048
PROBABILITIES = [  # every 126th
    [5.515791e-41, 9.9403676e-24, 1.2220093e-39, 3.6531851e-42, 1.6441435e-41, 1.2720308e-26, 4.9045446e-43, 6.0160254e-22],
    [2.2884605e-41, 7.3812319e-24, 5.5739589e-40, 1.7530244e-42, 4.0357396e-42, 4.9959459e-27, 2.3681944e-43, 6.8253321e-22],
]


def values(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Weights of a sensible size that depend on their name."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    if name.endswith("running_var"):
        array = random.rand(*shape) + 0.5
    elif name.endswith("bn.weight"):
        array = random.rand(*shape) * 0.5 + 0.75
    elif name.endswith("conv.weight"):
        array = random.randn(*shape) * np.sqrt(2 / np.prod(shape[1:]))
    else:
        array = random.randn(*shape) * 0.1
    return torch.from_numpy(array).float()


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    network = Inception()
    return {name: values(name, tuple(t.shape)) for name, t in network.state_dict().items() if not name.endswith("num_batches_tracked")}


@pytest.fixture(scope="module")
def weights(state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(state, file)
    return file


@torch.no_grad()
def test_the_network_is_that_of_pytorch_fid(state: dict[str, torch.Tensor], weights: Path) -> None:
    assert sum(t.numel() for t in state.values()) == NUM_VALUES
    images = torch.from_numpy(np.random.RandomState(0).rand(2, 3, 299, 299) * 2 - 1).float()
    found, probabilities = load(weights).look_at(images)
    torch.testing.assert_close(found[:, ::256], torch.tensor(FEATURES), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.double().sum(1), torch.tensor(SUMS, dtype=torch.float64), rtol=1e-5, atol=0)
    assert probabilities is not None
    torch.testing.assert_close(probabilities[:, ::126].log(), torch.tensor(PROBABILITIES).log(), rtol=0, atol=0.01)


def test_resizing_puts_output_i_at_input_i_times_the_ratio() -> None:
    ramp = torch.arange(32.0).expand(1, 1, 20, 32)
    expected = (torch.arange(299) * 32 / 299).clamp(max=31)
    torch.testing.assert_close(resized(ramp, 299), expected.expand(1, 1, 299, 299), rtol=0, atol=1e-4)
    torch.testing.assert_close(resized(ramp.mT, 299), expected.expand(1, 1, 299, 299).mT, rtol=0, atol=1e-4)


def test_an_image_of_the_right_size_stays_as_it_is() -> None:
    image = torch.rand(1, 3, 299, 299)
    assert torch.equal(resized(image, 299), image)


@torch.no_grad()
def test_pixels_go_in_as_the_graph_wants_them(weights: Path) -> None:
    network = load(weights)
    grey = torch.full((1, 1, 8, 8), 2 * 200 / 255 - 1)
    expected = network.look_at(torch.full((1, 3, 299, 299), (200 - 128) / 128))
    torch.testing.assert_close(network(grey).values, expected.values, rtol=1e-4, atol=1e-4)


def test_safetensors_are_read_as_well(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(state, tmp_path / "w.safetensors")
    assert torch.equal(load(tmp_path / "w.safetensors").fc.weight, state["fc.weight"])


def test_other_weights_are_refused_by_name(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(state | {"fc.weight": torch.zeros(1000, 2048)}, tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=r"fc.weight is \(1000, 2048\), Inception's is \(1008, 2048\)"):
        load(tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_a_damaged_file_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not weights")
    with pytest.raises(ConfigError) as error:
        load(tmp_path / name)
    assert "\n" not in str(error.value)


def test_code_in_a_file_is_not_executed(tmp_path: Path) -> None:
    class Gadget:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"fc.weight": Gadget()}, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match="refused"):
        load(tmp_path / "w.pth")
    assert not (tmp_path / "executed").exists()
