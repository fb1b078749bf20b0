"""`load(SOURCE)`: a trained model to draw images from, from a run, a checkpoint or an export.

Same seed, same images, bit for bit, whatever their number and however they are divided over processes: sample i depends on
(seed, i) alone, and the network always sees whole chunks of consecutive samples, on one thread where it runs on a CPU, because the
last bits of a convolution depend on the size of the batch and on the number of threads. What nobody asked for is cut off; who has
many cores starts many ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from biggan_scale.config import ConfigError, RunConfig
from biggan_scale.dist.seeds import Noise
from biggan_scale.engine import standing
from biggan_scale.export.plain import plain_game
from biggan_scale.export.source import Source, Weights, find
from biggan_scale.games.base import Draw
from biggan_scale.nn.posterior import Encoder

CHUNK, CHUNK_GPU = 8, 64  # samples the network sees at once: part of the definition of a sample's last bits


def load(source: str | Path, weights: Weights = "ema", device: str | torch.device = "cpu") -> Model:
    """The model at a path.

    Args:
        source: a run directory, a checkpoint or an export.
        weights: averaged ("ema") or as trained ("raw"; not in exports).
        device: where to run it.

    Raises:
        ConfigError: nothing of ours is there.
        CheckpointError: it is damaged, or a run without a checkpoint.
    """
    return Model(find(source, weights), device)


class Model:
    """A trained game in eval mode, its weights plain (spectral norms folded) and frozen.

    Attributes:
        config: the run's configuration.
        spec: size, channels and classes of the images.
        game: the algorithm; of its networks only the averaged ones have values.
        provenance: how the weights came to be.
    """

    def __init__(self, source: Source, device: str | torch.device = "cpu", check: Callable[[], object] = lambda: None) -> None:
        """`check` is called between the batches of standing statistics, and may raise to break off."""
        self.config: RunConfig = source.config
        self.spec = self.config.image_spec()
        self.device = torch.device(device)
        with one_thread():
            self.game = plain_game(source, self.device)
        self.dtype = next(p.dtype for module in self.game.averaged().values() for p in module.parameters())
        self.chunk_size = CHUNK if self.device.type == "cpu" else CHUNK_GPU
        self.provenance: dict[str, Any] = dict(source.provenance)
        if not source.is_export:
            with one_thread():
                self.provenance["statistics"] = standing.make(self.game, self.config, self.device, self.dtype, check)

    @property
    def generator(self) -> nn.Module:
        """G(z, y): images (N, C, H, W) in [-1, 1] from latents (N, dim) and labels (N,), None where there are no classes."""
        return self._network("G", "generator")

    @property
    def encoder(self) -> Encoder:
        """E(images): latent vectors (N, dim) of images (N, C, H, W) in [-1, 1]; `.features(images)` is what a linear probe reads.

        Raises:
            ConfigError: the game has none.
        """
        encoder = self._network("E", "encoder")
        assert isinstance(encoder, Encoder), 'a game that averages an "E" builds it on nn/posterior.py'
        return encoder

    def sample(self, num: int, seed: int = 0, truncation: float | None = None, classes: Sequence[int] | None = None) -> Tensor:
        """Draw images.

        Args:
            num: how many.
            seed: of the noise; sample i depends on nothing but the seed and i.
            truncation: of the latents; None: the prior as trained.
            classes: labels to go through in turn; None: drawn from the noise.

        Returns:
            (num, C, H, W) in [-1, 1], on the model's device.

        Raises:
            ConfigError: an argument makes no sense.
        """
        self.check_request(num, truncation, classes)
        chunks = [self.chunk(k, seed, truncation, classes)[0] for k in range(-(-num // self.chunk_size))]
        return torch.cat(chunks)[:num]

    @torch.no_grad()
    def chunk(self, index: int, seed: int, truncation: float | None, classes: Sequence[int] | None) -> tuple[Tensor, Tensor | None]:
        """The images and labels of samples index * chunk_size up to the next chunk."""
        draw = self.latents(range(index * self.chunk_size, (index + 1) * self.chunk_size), seed, truncation, classes)
        with one_thread():
            return self.game.generate(draw), draw.get("y")

    def latents(self, numbers: Sequence[int], seed: int, truncation: float | None, classes: Sequence[int] | None) -> Draw:
        """What the samples of these numbers are made from."""
        labels = torch.tensor([classes[i % len(classes)] for i in numbers], device=self.device) if classes else None
        return self.game.latents(self._noise(seed, numbers, "sample"), labels, truncation)

    @torch.no_grad()
    def images(self, make: Callable[[Draw], Tensor], latents: Draw) -> Tensor:
        """(N, C, H, W): what `make` makes of N latents, in chunks as for `sample`, so that equal latents give equal images."""
        num = len(next(iter(latents.values())))
        index = torch.arange(-(-num // self.chunk_size) * self.chunk_size, device=self.device).clamp(max=num - 1)
        with one_thread():
            made = [make({name: t[part] for name, t in latents.items()}) for part in index.split(self.chunk_size)]
        return torch.cat(made)[:num]

    @torch.no_grad()
    def reconstruct(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """G(E(x)) of images (B, C, H, W) in [-1, 1], whose labels (B,) matter where the model has classes.

        Raises:
            ConfigError: the game has no encoder, or one whose answer is not what its generator takes.
        """
        with one_thread():
            z = self.encoder(images)
            draw = self.game.latents(self._noise(0, range(len(images)), "sample"), labels if self.spec.num_classes else None)
            if "z" not in draw or z.shape != draw["z"].shape:
                takes = f"takes {tuple(draw['z'].shape[1:])}" if "z" in draw else "has no z"
                raise ConfigError(f"this model cannot reconstruct: its encoder answers {tuple(z.shape[1:])}, its generator {takes}")
            return self.game.generate(draw | {"z": z})

    def check_request(self, num: int, truncation: float | None, classes: Sequence[int] | None) -> None:
        """Raises ConfigError for what cannot be sampled."""
        if num < 1:
            raise ConfigError(f"num {num} must be at least 1")
        if truncation is not None and not truncation > 0:
            raise ConfigError(f"truncation {truncation} must be above 0")
        if classes is None:
            return
        if not self.spec.num_classes:
            raise ConfigError("classes are given, but the model has none")
        unknown = [label for label in classes if not 0 <= label < self.spec.num_classes]
        if unknown or not classes:
            raise ConfigError(f"classes {unknown or 'empty'}: the model has 0 to {self.spec.num_classes - 1}")

    def _network(self, part: str, role: str) -> nn.Module:
        networks = self.game.averaged()
        if part not in networks:
            raise ConfigError(f"this model has no {role}: a {self.config.game.type} keeps {', '.join(networks)}")
        return networks[part]

    def _noise(self, seed: int, numbers: Sequence[int], stream: str) -> Noise:
        return Noise(seed, numbers, stream, self.device, self.dtype)


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, results on a CPU do not depend on how many threads there are: torchrun gives each rank one, a single process gets all."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
