"""Files that execute code when a careless program loads them, put in the place of every file that we read.

Each gadget would create a canary file. That it really would is shown first, by loading it carelessly; then every loader must
refuse it, or take it for data, and the canary must not appear.
"""

from __future__ import annotations

import code
import contextlib
import io
import json
import os
import pickle
import runpy
import shutil
import subprocess
import tarfile
import tempfile
import timeit
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.distributed.checkpoint import FileSystemReader
from torch.package import PackageExporter, PackageImporter

from biggan_scale import load
from biggan_scale.config import UserError, load_config, to_tree
from biggan_scale.data.decode import decode
from biggan_scale.data.foreign import index_tars
from biggan_scale.data.index import Dataset
from biggan_scale.data.pack import PackOptions, pack
from biggan_scale.data.reader import Reader
from biggan_scale.data.sources import open_source
from biggan_scale.engine import checkpoint
from biggan_scale.engine.loop import Engine
from biggan_scale.export.hub import export_run
from biggan_scale.export.importers import import_checkpoint, sources
from support.tiny import tiny_config

CANARY = f"{tempfile.gettempdir()}/biggan_scale_canary_{os.getpid()}"  # short: it is inside every gadget; one per test process


class Calls:
    """Unpickles by calling a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


class CallsPartial:
    """Unpickles by calling what another call has made."""

    def __reduce__(self) -> Any:
        return partial(open, CANARY, "w"), ()


def payloads() -> dict[str, Any]:
    touch = f"open({CANARY!r}, 'w').close()"
    script = Path(f"{CANARY}.py")
    script.write_text(touch)
    return {
        "os.system": Calls(os.system, f"touch {CANARY}"),
        "os.mkdir": Calls(os.mkdir, CANARY),
        "os.mknod": Calls(os.mknod, CANARY),
        "os.spawnlp": Calls(os.spawnlp, os.P_WAIT, "touch", "touch", CANARY),
        "subprocess.call": Calls(subprocess.call, ["touch", CANARY]),
        "subprocess.check_output": Calls(subprocess.check_output, ["touch", CANARY]),
        "eval": Calls(eval, touch),
        "exec": Calls(exec, touch),
        "open": Calls(open, CANARY, "w"),
        "io.FileIO": Calls(io.FileIO, CANARY, "w"),
        "Path.touch": Calls(Path.touch, Path(CANARY)),
        "partial": CallsPartial(),
        "runpy.run_path": Calls(runpy.run_path, str(script)),
        "timeit": Calls(timeit.timeit, touch, "pass", timeit.default_timer, 1),
        "code.runsource": Calls(code.InteractiveInterpreter.runsource, code.InteractiveInterpreter(), touch),
        "shutil.copy": Calls(shutil.copy, str(script), CANARY),
        "list of a call": [1, {"weights": (Calls(os.system, f"touch {CANARY}"),)}],
    }


def pickled(payload: Any, protocol: int) -> bytes:
    return pickle.dumps(payload, protocol)


def torch_saved(payload: Any, zipped: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save({"state_dict": payload, "w": torch.zeros(2)}, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def object_array(payload: Any) -> bytes:
    buffer = io.BytesIO()
    array = np.empty(1, object)
    array[0] = payload
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


WRAPPINGS: dict[str, Callable[[Any], bytes]] = {
    "pickle 0": partial(pickled, protocol=0),
    "pickle 4": partial(pickled, protocol=4),
    "torch.save, legacy": partial(torch_saved, zipped=False),
    "torch.save, zip": partial(torch_saved, zipped=True),
    "numpy object array": object_array,
}


@pytest.fixture(scope="module")
def gadgets() -> dict[str, bytes]:
    """name -> file content; each shown to work on someone careless."""
    found = {}
    for name, payload in payloads().items():
        for wrapping, wrap in WRAPPINGS.items():
            data = wrap(payload)
            carelessly_load(data, wrapping)
            assert canary_sang(), f"{name} in {wrapping} is no gadget"
            found[f"{name} in {wrapping}"] = data
    assert len(found) >= 40
    return found


def carelessly_load(data: bytes, wrapping: str) -> None:
    file = io.BytesIO(data)
    if wrapping.startswith("pickle"):
        pickle.Unpickler(file).load()
    elif wrapping.startswith("torch"):
        torch.serialization.load(file, weights_only=False)
    else:
        np.lib.format.read_array(file, allow_pickle=True)


def canary_sang() -> bool:
    """Whether code was executed; and makes ready for the next."""
    path = Path(CANARY)
    if path.is_dir():
        path.rmdir()
        return True
    there = path.exists()
    path.unlink(missing_ok=True)
    return there


@pytest.fixture(autouse=True)
def quiet_canary() -> None:
    canary_sang()


def must_not_sing(data: bytes, name: str, place: Path, action: Callable[[], object]) -> None:
    """Puts the gadget at a place, and acts: a clear error or harmless data, nothing else."""
    before = place.read_bytes() if place.exists() else None
    place.write_bytes(data)
    try:
        action()
    except UserError as error:
        assert "\n" not in str(error), f"{name} in {place.name}: {error}"
    finally:
        assert not canary_sang(), f"{name} was executed by reading {place.name}"
        place.unlink()
        if before is not None:
            place.write_bytes(before)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with one checkpoint."""
    folder = tmp_path_factory.mktemp("run")
    config = tiny_config(run_dir=folder)
    checkpoint.save(folder / "checkpoints", Engine(config, torch.device("cpu")).state_dict(), {"config": to_tree(config)})
    return folder


def test_checkpoints(gadgets: dict[str, bytes], run: Path) -> None:
    (path,) = checkpoint.checkpoints(run / "checkpoints")

    def read() -> None:
        assert checkpoint.problem_of(path) is not None
        checkpoint.load(path)  # even without the check of its digests

    def read_unverified() -> None:
        try:
            checkpoint.load(path)
        finally:
            assert checkpoint.problem_of(path) is not None

    for name, data in gadgets.items():
        for file in ("model.safetensors", "optim.safetensors", "state.json"):
            must_not_sing(data, name, path / file, read_unverified)
        must_not_sing(data, name, path / checkpoint.MANIFEST, read)


def test_exports(gadgets: dict[str, bytes], run: Path, tmp_path: Path) -> None:
    export_run(run, tmp_path / "export")
    for name, data in gadgets.items():
        for file in ("model.safetensors", "config.json"):
            must_not_sing(data, name, tmp_path / "export" / file, lambda: load(tmp_path / "export"))


@pytest.mark.parametrize("source", sources())
def test_imports_of_other_projects(source: str, gadgets: dict[str, bytes], tmp_path: Path) -> None:
    file = tmp_path / {"biggan-deep-hf": "pytorch_model.bin"}.get(source, "G_ema.pth")  # which reads no file of another name
    (tmp_path / "config.json").write_text("{}")
    for name, data in gadgets.items():
        must_not_sing(data, name, file, lambda: import_checkpoint(file, source, tmp_path / "out"))
        assert not (tmp_path / "out").exists()


def test_configurations_beside_imported_weights(gadgets: dict[str, bytes], tmp_path: Path) -> None:
    torch.save({"embeddings.weight": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    for name, data in gadgets.items():
        must_not_sing(data, name, tmp_path / "config.json", lambda: import_checkpoint(tmp_path, "biggan-deep-hf", tmp_path / "out"))


def test_network_pickles_with_gadgets_inside(gadgets: dict[str, bytes], tmp_path: Path) -> None:
    """Where such a pickle holds bytes of torch's own, and in the state of a module."""
    file = tmp_path / "network-snapshot-000000.pkl"
    for name, data in gadgets.items():
        storage = pickle.dumps({"G_ema": Calls(torch.storage._load_from_bytes, data)})
        must_not_sing(storage, name, file, lambda: import_checkpoint(file, "stylegan2-ada", tmp_path / "out"))
        assert not (tmp_path / "out").exists()


def test_torch_packages(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with PackageExporter(buffer) as exporter:
        exporter.extern("**")
        exporter.save_pickle("model", "model.pkl", Calls(os.system, f"touch {CANARY}"))
    PackageImporter(io.BytesIO(buffer.getvalue())).load_pickle("model", "model.pkl")
    assert canary_sang(), "a torch.package is no gadget"
    for source in sources():
        must_not_sing(
            buffer.getvalue(), "torch.package", tmp_path / "G.pt", partial(import_checkpoint, tmp_path / "G.pt", source, tmp_path / "out")
        )


def test_distributed_checkpoints_of_torch(gadgets: dict[str, bytes], run: Path, tmp_path: Path) -> None:
    """Their `.metadata` is a pickle that torch.distributed.checkpoint loads freely; lying in a folder, or in one of our own checkpoints."""
    metadata = gadgets["os.system in pickle 4"]
    folder, (own,) = tmp_path / "dcp", checkpoint.checkpoints(run / "checkpoints")
    folder.mkdir()
    (folder / ".metadata").write_bytes(metadata)
    with contextlib.suppress(Exception):
        FileSystemReader(folder).read_metadata()
    assert canary_sang(), "the metadata is no gadget"
    must_not_sing(metadata, "DCP", folder / ".metadata", lambda: load(folder))
    must_not_sing(metadata, "DCP", own / ".metadata", lambda: checkpoint.load(own))
    must_not_sing(metadata, "DCP", tmp_path / ".metadata", lambda: open_source(tmp_path).list())


def test_pages(gadgets: dict[str, bytes], tmp_path: Path) -> None:
    for name, data in gadgets.items():
        must_not_sing(data, name, tmp_path / "page.yaml", lambda: load_config(str(tmp_path / "page.yaml")))
    for text in (
        f"a: !!python/object/apply:os.system ['touch {CANARY}']",
        f"!!python/object/new:subprocess.check_output [[touch, {CANARY}]]",
        f"run_dir: !!python/name:os.system\nseed: !!python/object/apply:builtins.open ['{CANARY}', w]",
    ):
        must_not_sing(text.encode(), text, tmp_path / "page.yaml", lambda: load_config(str(tmp_path / "page.yaml")))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A small packed data set."""
    for label in ("a", "b"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (8, 8), (40 * i, 90, 200)).save(tmp_path / "images" / label / f"{i}.png")
    pack(open_source(tmp_path / "images"), tmp_path / "shards", PackOptions(resolution=(8, 8)), workers=0)
    return tmp_path / "shards"


def test_shards_and_their_indexes(gadgets: dict[str, bytes], shards: Path) -> None:
    def read_all() -> None:
        dataset = Dataset.open(shards)
        reader = Reader(dataset)
        for index in range(dataset.num_samples):
            reader.read_pixels(0, index, np.empty((8, 8, 3), np.uint8))

    read_all()
    for name, data in gadgets.items():
        for file in ("dataset.json", *(path.name for path in shards.glob("*.npy")), *(path.name for path in shards.glob("*.tar"))):
            must_not_sing(data, name, shards / file, read_all)


def test_images(gadgets: dict[str, bytes]) -> None:
    for name, data in gadgets.items():
        with pytest.raises(ValueError):
            decode(data, np.empty((8, 8, 3), np.uint8))
        assert not canary_sang(), name


def archive(kind: str, member: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as out:
            out.writestr(member, data)
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz" if kind == "tar.gz" else "w") as out:
            info = tarfile.TarInfo(member)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


MEMBERS = ["00.pyd", "00.pickle", "00.pth", "00.png", "cifar-10-batches-py/data_batch_1", "cifar-100-python/train", "../../00.png"]


def test_what_is_packed(gadgets: dict[str, bytes], tmp_path: Path) -> None:
    def pack_it(path: Path) -> None:
        try:
            pack(open_source(path), tmp_path / "out", PackOptions(resolution=(8, 8)), workers=0)
        finally:
            shutil.rmtree(tmp_path / "out", ignore_errors=True)

    (tmp_path / "folder").mkdir()
    few = dict(list(gadgets.items())[::5])
    for name, data in gadgets.items():
        for file in ("source.zip", "source.tar", "source.npy", "folder/0.png"):
            place = tmp_path / file
            must_not_sing(data, name, place, partial(pack_it, place.parent if place.parent.name == "folder" else place))
    for name, data in few.items():
        for member in MEMBERS:
            for kind in ("zip", "tar", "tar.gz"):
                place = tmp_path / f"source.{kind}"
                must_not_sing(archive(kind, member, data), f"{name} as {member}", place, partial(pack_it, place))


def test_tars_of_others(gadgets: dict[str, bytes], tmp_path: Path) -> None:
    for name, data in list(gadgets.items())[::5]:
        for member in MEMBERS[:4]:
            place = tmp_path / "0.tar"
            must_not_sing(archive("tar", member, data), f"{name} as {member}", place, lambda: index_tars(tmp_path))
            (tmp_path / "dataset.json").unlink(missing_ok=True)


def test_a_gadget_in_json_stays_text(tmp_path: Path) -> None:
    text = json.dumps({"labels": [["__import__('os').system('touch')", 0]]})
    place = tmp_path / "source.zip"
    must_not_sing(archive("zip", "dataset.json", text.encode()), "json", place, lambda: open_source(place).list())
